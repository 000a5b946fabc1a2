"""Latent tokens as a distribution over codes (VITA eq 15): logits, the gradient through a choice, target codes.

Letters: B batch, L latents, D width, K codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vita_model.network.losses import masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Target codes: the frozen encoders' codes of the true futures or chunks."""

    indices: Tensor
    """int64 [B, L]"""
    mask: Tensor
    """bool [B, L] tokens that have a target."""


def token_logits(vectors: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Log-probabilities up to a constant [B, L, K] of codes [K, D], from their distances to vectors [B, L, D]."""
    half = vectors @ codes.T - 0.5 * codes.square().sum(dim=1)
    return half * (2.0 / (vectors.shape[-1] * temperature))


def gumbel_noise(seeds: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Draw Gumbel noise [B, *shape], from one seed per sample [B], so that it does not depend on the ranks."""
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator(device).manual_seed(seed)
        uniform = torch.rand(shape, generator=generator, device=device)
        rows.append(-torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))))
    return torch.stack(rows)


def through_softmax(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the most likely code of logits [B, L, K], with the gradient of the expected code.

    Returns:
        The codes' values [B, L, D], and their indices [B, L].
    """
    indices = logits.argmax(dim=-1)
    expected = F.softmax(logits, dim=-1) @ codes
    return expected + (codes[indices] - expected).detach(), indices


def token_error(logits: Tensor, teacher: Teacher) -> Tensor:
    """Cross-entropy between distributions [B, L, K] and target codes, averaged over tokens that have a target."""
    error = F.cross_entropy(logits.flatten(0, 1).float(), teacher.indices.flatten(), reduction="none")
    return masked_mean(error.reshape(teacher.indices.shape), teacher.mask)
