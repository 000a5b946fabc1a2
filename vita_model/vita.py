"""The parts put together: what the network predicts for a batch in each stage (Algorithm 1, lines 4 to 25).

Losses and what trains are said in `stages.py`.
Letters: B batch, F futures, T decoded futures, H steps of a chunk, L latents, D latent width.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vita_data.types import STATE_DIM, Batch, Modality
from vita_model.action import ActionDecoder, ActionEncoder
from vita_model.backbone import Backbone, Reasoning
from vita_model.codebook import Codebook, Quantized
from vita_model.configs import Component, VitaConfig
from vita_model.features import FrozenFeatures
from vita_model.layers import unit_images
from vita_model.thought import VisualThought
from vita_model.visual import VisualDecoder, VisualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random choices of one step; the defaults choose nothing: all frames, context kept."""

    frames: Tensor | None = None
    """int64 [T], which futures are decoded."""
    keep_context: Tensor | None = None
    """bool [B], which samples show the action decoder their context."""
    latent_order: Tensor | None = None
    """int64 [B], whose latents the decoders of each sample read; None: its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrediction:
    """Futures [B, T, 3, s, s] in [0, 1] beside what the shards hold, and the real ones of them [B, T]."""

    present: Tensor
    """uint8 [B, 256, 256, 3] the frame they start from, as it is stored."""
    predicted: Tensor
    true: Tensor
    mask: Tensor

    @property
    def start(self) -> Tensor:
        """The present frame [B, 3, s, s] as the futures are; resized when asked for, which training never does."""
        return unit_images(self.present, self.predicted.shape[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPrediction:
    """Action chunks [B, H, 14] in normalized units and the mask of real entries."""

    predicted: Tensor
    true: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What the decoders read of a thought: latents [B, L, D] of the frames and of the actions, often the same."""

    actions: Tensor
    frames: Tensor | None
    """None where the latents stand for nothing visual."""
    quantized: tuple[Quantized, ...]
    """The codes they were mapped to, of frames and of actions where these differ; none without codes."""

    def taken(self, order: Tensor | None) -> "Stream":
        """Give each sample the latents of another one."""
        if order is None:
            return self
        frames = None if self.frames is None else self.frames[order]
        return replace(self, actions=self.actions[order], frames=frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one forward gives the losses and the previews."""

    quantized: tuple[Quantized, ...]
    """One a stream of codes: one, or those of frames and of actions, or none."""
    frames: FramePrediction | None = None
    actions: ActionPrediction | None = None
    reasoning: Reasoning | None = None


class Vita(nn.Module):
    """All parts of the model; those that are left out cannot run, and the backbone is None then."""

    def __init__(self, config: VitaConfig, components: Collection[Component] = tuple(Component)) -> None:
        super().__init__()
        _check_latents(config)
        self.config = config
        self.components = tuple(c for c in Component if c in components)
        width, features = config.codebook.width, config.visual
        self.features = FrozenFeatures(features)
        with self._place(Component.CODEBOOK):
            self.codebook = Codebook(config.codebook)
        with self._place(Component.VISUAL_ENCODER):
            self.visual_encoder = VisualEncoder(
                config.visual_encoder,
                feature_width=features.encoder.width,
                num_patches=features.grid**2,
                latent_width=width,
            )
        with self._place(Component.VISUAL_DECODER):
            self.visual_decoder = VisualDecoder(config.visual_decoder, features=features, latent_width=width)
        with self._place(Component.ACTION_ENCODER):
            self.action_encoder = ActionEncoder(config.action_encoder, latent_width=width)
        with self._place(Component.ACTION_DECODER):
            self.action_decoder = ActionDecoder(
                config.action_decoder, latent_width=width, context_width=config.backbone.language.width
            )
        has_backbone = Component.BACKBONE in components
        self.backbone = Backbone(config.backbone, latent_width=width, thought=config.cot) if has_backbone else None

    def _place(self, name: Component) -> AbstractContextManager[object]:
        """Where a part is built: one that is left out has shapes and no memory."""
        return nullcontext() if name in self.components else torch.device("meta")

    def component(self, name: Component) -> nn.Module:
        """Give the module of a component."""
        return self.get_submodule(name.value)

    def reconstruct_pair(self, batch: Batch) -> Prediction:
        """Encode a frame pair as codes and decode its second frame from its first (VITA eq 2 to 4).

        Raises:
            ValueError: the batch holds no images.
        """
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        future, future_mask = _present(batch.future, "future"), _present(batch.future_mask, "future_mask")
        real = image_mask[:, :1] & future_mask[:, :1]
        first, second = self.features(images[:, 0]), self.features(future[:, 0])
        quantized = self.codebook(self.visual_encoder(first, second), batch.modality, real[:, 0])
        predicted = self._decode_frames(first, quantized.latents, torch.zeros(1, dtype=torch.int64))
        frames = self._compare(images, future[:, :1], predicted, real)
        return Prediction(quantized=(quantized,), frames=frames)

    def reconstruct_chunk(self, batch: Batch) -> Prediction:
        """Encode an action chunk as a code and decode it again (VITA eq 6 to 8).

        Raises:
            ValueError: the batch holds no actions.
        """
        action, mask = _present(batch.action, "action"), _present(batch.action_mask, "action_mask")
        quantized = self.codebook(self.action_encoder(action, mask), batch.modality, mask.flatten(1).any(dim=1))
        predicted = self.action_decoder(quantized.latents, num_steps=action.shape[1])
        actions = ActionPrediction(predicted=predicted, true=action, mask=mask)
        return Prediction(quantized=(quantized,), actions=actions)

    def reason(self, batch: Batch, draws: Draws, *, with_frames: bool) -> Prediction:
        """Predict futures (if asked) and actions (if the batch has them) from one latent stream (VITA eq 11 to 16).

        Raises:
            ValueError: the batch holds no images, or the model was built without a backbone.
        """
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        if self.backbone is None:
            raise ValueError("this model was built without a backbone")
        state, state_mask = _state(batch, images)
        tokens = self.backbone.tokens(batch.instruction, images.device)
        reasoning: Reasoning = self.backbone(images, image_mask, tokens, state, state_mask)
        return self.decode(batch, reasoning, draws, with_frames=with_frames)

    def decode(self, batch: Batch, reasoning: Reasoning, draws: Draws, *, with_frames: bool) -> Prediction:
        """Decode a thought about a batch as `reason` does (VITA eq 16).

        Raises:
            ValueError: the batch holds no images.
        """
        image_mask = _present(batch.image_mask, "image_mask")
        acts = batch.action is not None
        stream = self.stream(reasoning, image_mask.any(dim=1), acts=acts).taken(draws.latent_order)
        shows = with_frames and stream.frames is not None
        return Prediction(
            quantized=stream.quantized,
            reasoning=reasoning,
            frames=self._imagined_frames(batch, stream.frames, draws) if shows else None,
            actions=self._chosen_actions(batch, stream.actions, reasoning, draws),
        )

    def stream(self, reasoning: Reasoning, mask: Tensor, *, acts: bool = True) -> Stream:
        """Map a thought's latents to codes; `mask` [B] says which samples are real.

        One stream of codes is for both decoders, unless the codebook or the latents are each modality's own. The
        actions' own then stay out of batches that have none (`acts` False): nothing supervises them there.
        """
        latents, visual = reasoning.latents, reasoning.visual
        if self.config.cot.visual is VisualThought.NONE:
            return Stream(actions=latents, frames=None, quantized=())
        if visual is None and self.codebook.actions is None:
            quantized = self.codebook.project(latents, Modality.VIDEO, mask)
            return Stream(actions=quantized.latents, frames=quantized.latents, quantized=(quantized,))
        seen = self.codebook.project(latents if visual is None else visual, Modality.VIDEO, mask)
        if not acts:
            return Stream(actions=latents, frames=seen.latents, quantized=(seen,))
        done = self.codebook.project(latents, Modality.ACTION, mask)
        return Stream(actions=done.latents, frames=seen.latents, quantized=(seen, done))

    def _imagined_frames(self, batch: Batch, latents: Tensor | None, draws: Draws) -> FramePrediction:
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        future, future_mask = _present(batch.future, "future"), _present(batch.future_mask, "future_mask")
        latents = _present(latents, "latents of frames")
        chosen = torch.arange(future.shape[1]) if draws.frames is None else draws.frames
        predicted = self._decode_frames(self.features(images[:, 0]), latents, chosen)
        chosen = chosen.to(future.device)
        return self._compare(images, future[:, chosen], predicted, future_mask[:, chosen] & image_mask[:, :1])

    def _decode_frames(self, features: Tensor, latents: Tensor, chosen: Tensor) -> Tensor:
        """Decode futures `chosen` [T] (0 is the first) of each sample at once as [B, T, 3, s, s]."""
        batch, num_latents = latents.shape[:2]
        chosen = chosen.to(latents.device)
        per_frame = self.config.visual_encoder.num_latents
        visible = torch.arange(num_latents, device=latents.device) < (chosen[:, None] + 1) * per_frame
        images: Tensor = self.visual_decoder(
            features.repeat_interleave(len(chosen), dim=0),
            latents.repeat_interleave(len(chosen), dim=0),
            visible.repeat(batch, 1),
            (chosen + 1).repeat(batch),
        )
        return images.reshape(batch, len(chosen), *images.shape[1:])

    def _compare(self, images: Tensor, future: Tensor, predicted: Tensor, mask: Tensor) -> FramePrediction:
        size = self.config.visual_decoder.output_size
        true = unit_images(future, size)
        return FramePrediction(present=images[:, 0], predicted=predicted, true=true, mask=mask)

    def _chosen_actions(
        self, batch: Batch, latents: Tensor, reasoning: Reasoning, draws: Draws
    ) -> ActionPrediction | None:
        if batch.action is None or batch.action_mask is None:
            return None
        shown = reasoning.context.mask
        if draws.keep_context is not None:
            shown = shown & draws.keep_context.to(shown.device)[:, None]
        predicted = self.action_decoder(
            latents, num_steps=batch.action.shape[1], context=reasoning.context.hidden, context_mask=shown
        )
        return ActionPrediction(predicted=predicted, true=batch.action, mask=batch.action_mask)


def _check_latents(config: VitaConfig) -> None:
    most = max(config.backbone.num_latents, config.visual_encoder.num_latents)
    room = min(config.visual_decoder.max_latents, config.action_decoder.max_latents)
    if most > room:
        raise ValueError(f"{most} latents come, and a decoder has room for {room} (max_latents)")


def _present(member: Tensor | None, name: str) -> Tensor:
    if member is None:
        raise ValueError(f"this forward needs {name}, which the batch's modality does not carry")
    return member


def _state(batch: Batch, images: Tensor) -> tuple[Tensor, Tensor]:
    """Give the batch's state, or a masked one where the modality carries none."""
    if batch.state is not None and batch.state_mask is not None:
        return batch.state, batch.state_mask
    empty = torch.zeros(len(images), STATE_DIM, device=images.device)
    return empty, torch.zeros_like(empty, dtype=torch.bool)
