"""Inputs and outputs of the network: the random choices of a step, and predictions with their true values.

Letters: B batch, F futures, T decoded futures, H steps of a chunk, L latents, D latent width.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from vita_model.distributed import mean_row, previous_rows
from vita_model.network.backbone import Reasoning
from vita_model.network.codebook import Quantized
from vita_model.network.layers import unit_images
from vita_model.network.tokens import Teacher


class ShownLatents(StrEnum):
    """Which latents the decoders get. The error with other latents shows how much they depend on them."""

    OWN = "own"
    SHUFFLED = "shuffled"
    """The latents of the previous sample in the global batch."""
    MEAN = "mean"
    """The mean over the global batch."""

    def of(self, latents: Tensor) -> Tensor:
        """Choose among latents [B, K, D]; every rank must call this, and the choice does not depend on their number."""
        if self is ShownLatents.SHUFFLED:
            return previous_rows(latents)
        return mean_row(latents).expand_as(latents) if self is ShownLatents.MEAN else latents


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random choices of one step; by default there are none: all frames are decoded, all context is kept."""

    frames: Tensor | None = None
    """int64 [T], futures to decode; None: all."""
    keep_context: Tensor | None = None
    """bool [B], samples whose context the action decoder sees; None: all."""
    latents: ShownLatents = ShownLatents.OWN
    """Which latents the decoders get."""
    token_seeds: Tensor | None = None
    """int64 [B], seeds for sampling latent tokens; None: take the most likely code."""
    teach: bool = False
    """Encode the true futures as codes, for teacher forcing and `loss.tokens`."""
    taught: tuple[int, ...] | None = None
    """Transitions to encode for that (0 is the first); None: all."""
    teach_chunks: bool = False
    """Encode the true action chunks as codes, for `loss.chunk_tokens`."""
    view_shift: Tensor | None = None
    """float [B, 2] in -1..1 (down, right): shift of the encoder's frames, relative to the largest shift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePrediction:
    """Features [N, P, F] predicted for a future frame, the true ones, and those of the present frame."""

    predicted: Tensor
    true: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrediction:
    """Predicted and true futures [B, T, 3, s, s] in [0, 1], and their mask [B, T]."""

    present: Tensor
    """uint8 [B, 256, 256, 3] the present frame, as stored."""
    predicted: Tensor
    true: Tensor
    mask: Tensor
    features: FeaturePrediction | None = None
    """Features of the pair's second frame, in warmup."""

    @property
    def start(self) -> Tensor:
        """The present frame [B, 3, s, s] in the format of the futures; resized at each access."""
        return unit_images(self.present, self.predicted.shape[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPrediction:
    """Predicted and true action chunks [B, H, A] in normalized units, and their mask."""

    predicted: Tensor
    true: Tensor
    mask: Tensor
    from_latents: Tensor | None = None
    """What the latents alone predict, where the backbone's states only correct it."""

    @property
    def real(self) -> Tensor:
        """The true values as float32, 0 where masked."""
        return torch.where(self.mask, self.true, 0.0).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrediction:
    """The distributions of latent tokens, as logits [B, L, K], and their target codes."""

    logits: Tensor
    teacher: Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Latents [B, L, D] passed to the action and frame decoders; often the same."""

    actions: Tensor
    frames: Tensor | None
    """None if the latents represent nothing visual."""
    quantized: tuple[Quantized, ...]
    """The quantized latents: one entry, two if frames and actions have their own, none without codes."""

    def shown(self, choice: ShownLatents) -> "Stream":
        """Replace the latents by the chosen ones."""
        frames = None if self.frames is None else choice.of(self.frames)
        return replace(self, actions=choice.of(self.actions), frames=frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Output of one forward pass, for losses and previews."""

    quantized: tuple[Quantized, ...]
    """One entry per stream of codes: one, two if frames and actions have their own, or none."""
    frames: FramePrediction | None = None
    actions: ActionPrediction | None = None
    reasoning: Reasoning | None = None
    tokens: TokenPrediction | None = None
    """Latent tokens with the codes of the true futures."""
    chunk_tokens: TokenPrediction | None = None
    """Latent tokens with the codes of the true chunks."""
