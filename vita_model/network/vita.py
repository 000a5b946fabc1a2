"""The whole network: what it predicts for a batch in each stage (Algorithm 1, lines 4 to 25).

`stages.py` defines the losses and which parts train.
Letters: B batch, F futures, T decoded futures, H steps of a chunk, L latents, D latent width.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from vita_data.slots import STATE_DIM
from vita_data.types import Batch, Modality
from vita_model.network.action import ActionDecoder, ActionEncoder, DecodedActions
from vita_model.network.backbone import Backbone, Reasoning, TokensBefore
from vita_model.network.codebook import Codebook, Quantized
from vita_model.network.configs import (
    ActionContext,
    Component,
    LatentDecoding,
    LatentGradient,
    SegmentLatents,
    VitaConfig,
)
from vita_model.network.features import FrozenFeatures
from vita_model.network.layers import moved_images, unit_images
from vita_model.network.prediction import (
    ActionPrediction,
    Draws,
    FeaturePrediction,
    FramePrediction,
    Prediction,
    Stream,
    TokenPrediction,
)
from vita_model.network.reasoning import VisualReasoning
from vita_model.network.tokens import Teacher, gumbel_noise, through_softmax, token_logits
from vita_model.network.visual import DecodedFrames, VisualDecoder, VisualEncoder


class Vita(nn.Module):
    """All parts of the model. Parts that are left out cannot run; a backbone that is left out is None."""

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
                grid=features.grid,
                latent_width=width,
            )
        with self._place(Component.VISUAL_DECODER):
            self.visual_decoder = VisualDecoder(config.visual_decoder, features=features, latent_width=width)
        with self._place(Component.ACTION_ENCODER):
            self.action_encoder = ActionEncoder(
                config.action_encoder, latent_width=width, num_action_dims=config.num_action_dims
            )
        with self._place(Component.ACTION_DECODER):
            self.action_decoder = ActionDecoder(
                config.action_decoder,
                latent_width=width,
                context_width=config.backbone.language.width,
                num_action_dims=config.num_action_dims,
            )
        has_backbone = Component.BACKBONE in components
        self.backbone = (
            Backbone(config.backbone, latent_width=width, reasoning=config.cot, decoding=config.latents.decoding)
            if has_backbone
            else None
        )

    def _place(self, name: Component) -> AbstractContextManager[object]:
        """Give the context to build a part in; parts that are left out get shapes, but no memory."""
        return nullcontext() if name in self.components else torch.device("meta")

    def component(self, name: Component) -> nn.Module:
        """Give the module of a component."""
        return self.get_submodule(name.value)

    def reconstruct_pair(self, batch: Batch, draws: Draws) -> Prediction:
        """Encode a frame pair as codes and decode its second frame from its first (VITA eq 2 to 4).

        If the batch also has the actions of the pair, they are decoded from the video's code.

        Raises:
            ValueError: the batch has no images.
        """
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        future, future_mask = _present(batch.future, "future"), _present(batch.future_mask, "future_mask")
        real = image_mask[:, :1] & future_mask[:, :1]
        first, second = self.features(images[:, 0]), self.features(future[:, 0])
        quantized = self.codebook(
            self._encoded_pair(images, future, draws, (first, second)), Modality.VIDEO, real[:, 0]
        )
        latents = draws.latents.of(quantized.latents)
        decoded = self._decode_frames(images, first, latents, torch.zeros(1, dtype=torch.int64))
        frames = self._compare(images, future[:, :1], decoded.images, real)
        if decoded.features is not None:
            features = FeaturePrediction(predicted=decoded.features, true=second, present=first)
            frames = replace(frames, features=features)
        return Prediction(quantized=(quantized,), frames=frames, actions=self._crossed(batch, latents, real))

    def _encoded_pair(self, images: Tensor, future: Tensor, draws: Draws, features: tuple[Tensor, Tensor]) -> Tensor:
        """Encode the first pair of a batch, from the features of both frames or of shifted copies."""
        if draws.view_shift is None:
            return cast("Tensor", self.visual_encoder(*features))
        far = self.config.visual_encoder.moved_views
        moved = (moved_images(frames[:, 0], draws.view_shift * far) for frames in (images, future))
        return cast("Tensor", self.visual_encoder(*(self.features(view) for view in moved)))

    def _crossed(self, batch: Batch, latents: Tensor, real: Tensor) -> ActionPrediction | None:
        """Decode the actions of paired windows from their video's latents; masked pairs are ignored."""
        if batch.action is None or batch.action_mask is None:
            return None
        predicted = self.action_decoder(latents, num_steps=batch.action.shape[1]).actions
        return ActionPrediction(predicted=predicted, true=batch.action, mask=batch.action_mask & real[..., None])

    def reconstruct_chunk(self, batch: Batch, draws: Draws) -> Prediction:
        """Encode an action chunk as a code and decode it again (VITA eq 6 to 8).

        Raises:
            ValueError: the batch has no actions.
        """
        action, mask = _present(batch.action, "action"), _present(batch.action_mask, "action_mask")
        quantized = self.encode_chunk(action, mask)
        predicted = self.action_decoder(draws.latents.of(quantized.latents), num_steps=action.shape[1]).actions
        actions = ActionPrediction(predicted=predicted, true=action, mask=mask)
        return Prediction(quantized=(quantized,), actions=actions)

    def encode_chunk(self, action: Tensor, mask: Tensor) -> Quantized:
        """Encode action chunks [B, H, A] with their mask as one code each (VITA eq 6, 7)."""
        quantized: Quantized = self.codebook(
            self.action_encoder(action, mask), Modality.ACTION, mask.flatten(1).any(dim=1)
        )
        return quantized

    def paint(self, batch: Batch, latents: Tensor) -> Tensor:
        """Decode the second frame of a batch's pairs from given latents [B, K, D]: images [B, 1, 3, s, s].

        Raises:
            ValueError: the batch has no images.
        """
        images = _present(batch.images, "images")
        first = torch.zeros(1, dtype=torch.int64)
        return self._decode_frames(images, self.features(images[:, 0]), latents, first).images

    def reason(self, batch: Batch, draws: Draws, *, with_frames: bool) -> Prediction:
        """Predict futures (if asked) and actions (if the batch has them) from one latent stream (VITA eq 11 to 16).

        Raises:
            ValueError: the batch has no images, or the model was built without a backbone.
        """
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        if self.backbone is None:
            raise ValueError("this model was built without a backbone")
        state, state_mask = _state(batch, images)
        tokens = self.backbone.tokens(batch.instruction, images.device)
        teacher = self.teacher(batch, draws.taught) if draws.teach else None
        reasoning: Reasoning = self.backbone(
            images, image_mask, tokens, state, state_mask, self._before(teacher, draws)
        )
        found = self.decode(batch, reasoning, draws, with_frames=with_frames)
        if draws.teach_chunks and batch.action is not None:
            logits = self._logits(reasoning.latents, Modality.ACTION)
            found = replace(found, chunk_tokens=TokenPrediction(logits=logits, teacher=self.chunk_teacher(batch)))
        if teacher is None:
            return found
        vectors = reasoning.latents if reasoning.visual is None else reasoning.visual
        return replace(found, tokens=TokenPrediction(logits=self._logits(vectors, Modality.VIDEO), teacher=teacher))

    @torch.no_grad()
    def teacher(self, batch: Batch, chosen: Sequence[int] | None = None) -> Teacher:
        """Encode the true transitions of a batch, or the chosen ones, as target codes of its tokens.

        Assumes: the frozen visual encoder gives the target of every token; the paper does not say where targets come
            from.

        Raises:
            ValueError: the batch has no images, or the codebook still learns.
        """
        self._check_teaches()
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        future, future_mask = _present(batch.future, "future"), _present(batch.future_mask, "future_mask")
        frames = torch.cat([images[:, :1], future], dim=1)[:, : self.num_transitions + 1]
        shown = torch.cat([image_mask[:, :1], future_mask], dim=1)[:, : frames.shape[1]]
        first = list(range(frames.shape[1] - 1) if chosen is None else chosen)
        second = [number + 1 for number in first]
        needed = sorted({*first, *second})
        features = self.features(frames[:, needed].flatten(0, 1)).unflatten(0, (len(frames), len(needed)))
        real = shown[:, first] & shown[:, second]
        ends = ([needed.index(number) for number in numbers] for numbers in (first, second))
        encoded = self.visual_encoder(*(features[:, end].flatten(0, 1) for end in ends))
        codes = self.codebook(encoded, Modality.VIDEO, real.flatten()).indices
        taken = _present(codes, "codes", why="the codebook is not trained yet").reshape(len(frames), -1)
        per_pair = self.config.visual_encoder.num_latents
        tokens = [number * per_pair + place for number in first for place in range(per_pair)]
        indices = taken.new_zeros(len(frames), self.config.backbone.num_latents)
        known = torch.zeros_like(indices, dtype=torch.bool)
        indices[:, tokens], known[:, tokens] = taken, real.repeat_interleave(per_pair, dim=1)
        return Teacher(indices=indices, mask=known)

    @torch.no_grad()
    def chunk_teacher(self, batch: Batch) -> Teacher:
        """Encode the true chunks of a batch as target codes of its latent tokens.

        If each segment of a chunk has its own latents, the first latent of each segment has a target; otherwise only
        the first latent of all.

        Raises:
            ValueError: the batch has no actions, they do not have the encoder's length, or the codebook still learns.
        """
        self._check_teaches()
        action, mask = _present(batch.action, "action"), _present(batch.action_mask, "action_mask")
        num_parts = self.action_decoder.num_segments if self.action_decoder.reads_own else 1
        cut = (len(action) * num_parts, action.shape[1] // num_parts, action.shape[2])
        action, mask = action.reshape(cut), mask.reshape(cut)
        codes = self.encode_chunk(action, mask).indices
        taken = _present(codes, "codes", why="the codebook is not trained yet").reshape(-1, num_parts)
        indices = taken.new_zeros(len(taken), self.config.backbone.num_latents)
        known = torch.zeros_like(indices, dtype=torch.bool)
        first = torch.arange(num_parts, device=taken.device) * (self.config.backbone.num_latents // num_parts)
        indices[:, first], known[:, first] = taken, mask.flatten(1).any(dim=1).reshape(taken.shape)
        return Teacher(indices=indices, mask=known)

    def _check_teaches(self) -> None:
        if self.codebook.training:
            raise ValueError(
                "expected a frozen codebook, since its codes teach latent tokens; set codebook.freeze=true"
            )

    @property
    def num_transitions(self) -> int:
        """Number of transitions that the backbone's latent tokens represent."""
        return self.config.backbone.num_latents // self.config.visual_encoder.num_latents

    def _before(self, teacher: Teacher | None, draws: Draws) -> TokensBefore | None:
        """Give the previous tokens for autoregressive decoding; None for parallel decoding."""
        if self.config.latents.decoding is LatentDecoding.PARALLEL:
            return None
        if teacher is not None:
            return TokensBefore(codes=torch.where(teacher.mask[..., None], self.codebook.codes[teacher.indices], 0.0))

        def choose(vectors: Tensor, number: int) -> Tensor:
            mask = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
            noise = None if draws.token_seeds is None else draws.token_seeds + number
            return self._token(vectors, Modality.VIDEO, mask, noise).latents

        return TokensBefore(choose=choose)

    def _logits(self, vectors: Tensor, modality: Modality) -> Tensor:
        codes = self.codebook.table(modality).codes
        with torch.autocast(vectors.device.type, enabled=False):
            return token_logits(vectors.float(), codes, self.config.latents.temperature)

    def _token(self, vectors: Tensor, modality: Modality, mask: Tensor, seeds: Tensor | None) -> Quantized:
        """Map predicted vectors [B, L, D] to codes, according to `latents.gradient`; with `seeds` [B], sample them."""
        quantized = self.codebook.project(vectors, modality, mask)
        if self.config.latents.gradient is LatentGradient.NEAREST and seeds is None:
            return quantized
        logits = self._logits(vectors, modality)
        if seeds is not None:
            logits = logits + gumbel_noise(seeds, (logits.shape[1], logits.shape[2]), logits.device)
        latents, indices = through_softmax(logits, self.codebook.table(modality).codes)
        if self.config.latents.gradient is LatentGradient.NEAREST:
            latents = vectors + (self.codebook.table(modality).codes[indices] - vectors).detach()
        return replace(quantized, latents=latents, indices=indices)

    def decode(self, batch: Batch, reasoning: Reasoning, draws: Draws, *, with_frames: bool) -> Prediction:
        """Decode the reasoning about a batch, as `reason` does (VITA eq 16).

        Raises:
            ValueError: the batch has no images.
        """
        image_mask = _present(batch.image_mask, "image_mask")
        acts = batch.action is not None
        seeds = draws.token_seeds
        stream = self.stream(reasoning, image_mask.any(dim=1), acts=acts, seeds=seeds).shown(draws.latents)
        shows = with_frames and stream.frames is not None
        return Prediction(
            quantized=stream.quantized,
            reasoning=reasoning,
            frames=self._imagined_frames(batch, stream.frames, draws) if shows else None,
            actions=self._chosen_actions(batch, stream.actions, reasoning, draws),
        )

    def stream(self, reasoning: Reasoning, mask: Tensor, *, acts: bool = True, seeds: Tensor | None = None) -> Stream:
        """Map the backbone's latents to codes; `mask` [B] marks samples that take part, `seeds` [B] sample the codes.

        Both decoders get the same stream of codes, unless the modalities have separate codebooks or latents. Then the
        action codes are skipped for batches without actions (`acts` False), since nothing supervises them.
        """
        latents, visual = reasoning.latents, reasoning.visual
        if self.config.cot.visual is VisualReasoning.NONE:
            return Stream(actions=latents, frames=None, quantized=())
        if visual is None and self.codebook.actions is None:
            quantized = self._token(latents, Modality.VIDEO, mask, seeds)
            return Stream(actions=quantized.latents, frames=quantized.latents, quantized=(quantized,))
        seen = self._token(latents if visual is None else visual, Modality.VIDEO, mask, seeds)
        if not acts:
            return Stream(actions=latents, frames=seen.latents, quantized=(seen,))
        done = self._token(latents, Modality.ACTION, mask, seeds)
        return Stream(actions=done.latents, frames=seen.latents, quantized=(seen, done))

    def _imagined_frames(self, batch: Batch, latents: Tensor | None, draws: Draws) -> FramePrediction:
        images, image_mask = _present(batch.images, "images"), _present(batch.image_mask, "image_mask")
        future, future_mask = _present(batch.future, "future"), _present(batch.future_mask, "future_mask")
        latents = _present(latents, "latents of frames", why="the model has none (cot.visual=none)")
        chosen = torch.arange(future.shape[1]) if draws.frames is None else draws.frames
        decoded = self._decode_frames(images, self.features(images[:, 0]), latents, chosen)
        chosen = chosen.to(future.device)
        return self._compare(images, future[:, chosen], decoded.images, future_mask[:, chosen] & image_mask[:, :1])

    def _decode_frames(self, images: Tensor, features: Tensor, latents: Tensor, chosen: Tensor) -> DecodedFrames:
        """Decode futures `chosen` [T] (0 is the first) of each sample at once: images [B, T, 3, s, s]."""
        batch, num_latents = latents.shape[:2]
        chosen = chosen.to(latents.device)
        per_frame = self.config.visual_encoder.num_latents
        visible = torch.arange(num_latents, device=latents.device) < (chosen[:, None] + 1) * per_frame
        present = None
        if self.visual_decoder.needs_present:
            present = unit_images(images[:, 0], self.config.visual_decoder.output_size)
            present = present.repeat_interleave(len(chosen), dim=0)
        decoded: DecodedFrames = self.visual_decoder(
            features.repeat_interleave(len(chosen), dim=0),
            latents.repeat_interleave(len(chosen), dim=0),
            visible.repeat(batch, 1),
            (chosen + 1).repeat(batch),
            present,
        )
        return replace(decoded, images=decoded.images.reshape(batch, len(chosen), *decoded.images.shape[1:]))

    def _compare(self, images: Tensor, future: Tensor, predicted: Tensor, mask: Tensor) -> FramePrediction:
        size = self.config.visual_decoder.output_size
        true = unit_images(future, size)
        return FramePrediction(present=images[:, 0], predicted=predicted, true=true, mask=mask)

    def _chosen_actions(
        self, batch: Batch, latents: Tensor, reasoning: Reasoning, draws: Draws
    ) -> ActionPrediction | None:
        if batch.action is None or batch.action_mask is None:
            return None
        num_steps, context, shown = batch.action.shape[1], None, None
        if self.config.action_decoder.context is not ActionContext.NONE:
            context, shown = reasoning.context.hidden, reasoning.context.mask
            if draws.keep_context is not None and self.config.action_decoder.context is ActionContext.STATES:
                shown = shown & draws.keep_context.to(shown.device)[:, None]
        decoded: DecodedActions = self.action_decoder(latents, num_steps=num_steps, context=context, context_mask=shown)
        return ActionPrediction(
            predicted=decoded.actions, true=batch.action, mask=batch.action_mask, from_latents=decoded.from_latents
        )


def _check_latents(config: VitaConfig) -> None:
    most = max(config.backbone.num_latents, config.visual_encoder.num_latents)
    room = min(config.visual_decoder.max_latents, config.action_decoder.max_latents)
    if most > room:
        raise ValueError(f"expected max_latents of at least {most} in both decoders, got {room}")
    decoder = config.action_decoder
    if decoder.segment_latents is SegmentLatents.OWN and config.backbone.num_latents % decoder.num_segments:
        raise ValueError(
            f"expected backbone.num_latents to be a multiple of action_decoder.num_segments={decoder.num_segments}, "
            f"got {config.backbone.num_latents}"
        )


def _present(member: Tensor | None, name: str, *, why: str = "the batch's modality has none") -> Tensor:
    if member is None:
        raise ValueError(f"this forward pass needs {name}, but {why}")
    return member


def _state(batch: Batch, images: Tensor) -> tuple[Tensor, Tensor]:
    """Give the batch's state, or a fully masked one if the modality has none."""
    if batch.state is not None and batch.state_mask is not None:
        return batch.state, batch.state_mask
    empty = torch.zeros(len(images), STATE_DIM, device=images.device)
    return empty, torch.zeros_like(empty, dtype=torch.bool)
