"""What the network is asked and gives: the random choices of a step, predictions beside what really happened.

Letters: B batch, F futures, T decoded futures, H steps of a chunk, L latents, D latent width.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from vita_model.network.backbone import Reasoning
from vita_model.network.codebook import Quantized
from vita_model.network.layers import unit_images
from vita_model.network.tokens import Teacher


class ShownLatents(StrEnum):
    """Which latents the decoders are shown: what others cost tells how much they read them."""

    OWN = "own"
    SHUFFLED = "shuffled"
    """Those of the sample before."""
    MEAN = "mean"
    """The mean over the batch."""

    def of(self, latents: Tensor) -> Tensor:
        """Choose among latents [B, K, D]."""
        if self is ShownLatents.SHUFFLED:
            return latents.roll(1, dims=0)
        return latents.mean(dim=0, keepdim=True).expand_as(latents) if self is ShownLatents.MEAN else latents


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random choices of one step; the defaults choose nothing: all frames, context kept."""

    frames: Tensor | None = None
    """int64 [T], which futures are decoded."""
    keep_context: Tensor | None = None
    """bool [B], which samples show the action decoder their context."""
    latents: ShownLatents = ShownLatents.OWN
    """Which latents the decoders read."""
    token_seeds: Tensor | None = None
    """int64 [B], seeds of the noise with which latent tokens are sampled; None: the likeliest code is taken."""
    teach: bool = False
    """Give the codes that the frozen encoders give the true futures: teacher-forced, and for `loss.tokens`."""
    taught: tuple[int, ...] | None = None
    """Which transitions have a teacher (0 is the first); None: all."""
    teach_chunks: bool = False
    """Give the codes that the frozen encoders give the true chunks, for `loss.chunk_tokens`."""
    view_shift: Tensor | None = None
    """float [B, 2] in -1..1 (down, right): how far the encoder's view of each pair is moved, of the largest shift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePrediction:
    """Features [N, P, F] predicted for a future frame, the true ones, and those of the present frame."""

    predicted: Tensor
    true: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrediction:
    """Futures [B, T, 3, s, s] in [0, 1] beside what the shards hold, and the real ones of them [B, T]."""

    present: Tensor
    """uint8 [B, 256, 256, 3] the frame they start from, as it is stored."""
    predicted: Tensor
    true: Tensor
    mask: Tensor
    features: FeaturePrediction | None = None
    """Of the pair's second frame, in warmup."""

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

    @property
    def real(self) -> Tensor:
        """The true values as float32, 0 where they are masked."""
        return torch.where(self.mask, self.true, 0.0).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrediction:
    """The distributions of latent tokens, as logits [B, L, K], beside the teacher's codes."""

    logits: Tensor
    teacher: Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Latents [B, L, D] passed to the frame and action decoders, often the same."""

    actions: Tensor
    frames: Tensor | None
    """None where the latents stand for nothing visual."""
    quantized: tuple[Quantized, ...]
    """The codes they were mapped to, of frames and of actions where these differ; none without codes."""

    def shown(self, choice: ShownLatents) -> "Stream":
        """Show the decoders other latents."""
        frames = None if self.frames is None else choice.of(self.frames)
        return replace(self, actions=choice.of(self.actions), frames=frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one forward gives the losses and the previews."""

    quantized: tuple[Quantized, ...]
    """One a stream of codes: one, or those of frames and of actions, or none."""
    frames: FramePrediction | None = None
    actions: ActionPrediction | None = None
    reasoning: Reasoning | None = None
    tokens: TokenPrediction | None = None
    """Beside the codes of the true futures."""
    chunk_tokens: TokenPrediction | None = None
    """Beside the codes of the true chunks."""
