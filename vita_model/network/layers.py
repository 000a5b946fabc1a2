"""Transformer blocks of the M-Former and both decoders, and image preparation; none of them use released weights.

Letters: B batch, S sequence, M memory rows, D width. Masks are True for rows that take part.
"""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vita_data.types import Image
from vita_model.network.configs import PositionStart, TransformerConfig


class Attention(nn.Module):
    """Multi-head attention from rows [B, S, D] to memory rows [B, M, D]; self-attention if both are the same."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.width % config.num_heads:
            raise ValueError(f"width {config.width} must be a multiple of num_heads ({config.num_heads})")
        self.num_heads = config.num_heads
        self.query, self.key, self.value, self.out = (nn.Linear(config.width, config.width) for _ in range(4))

    def forward(self, rows: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend; `mask` bool [B, M] hides memory rows where False. Each sample needs at least one visible row."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, rows), (self.key, memory), (self.value, memory))
        )
        allowed = None if mask is None else mask[:, None, None, :]
        mixed: Tensor = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Pre-LN block: self-attention, optional cross-attention to a memory, feed-forward with GELU."""

    def __init__(self, config: TransformerConfig, *, cross_attention: bool = False) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(config.width), Attention(config)
        self.cross_norm = nn.LayerNorm(config.width) if cross_attention else None
        self.cross_attention = Attention(config) if cross_attention else None
        self.ffn_norm = nn.LayerNorm(config.width)
        self.ffn = mlp(config.width, config.ffn_width, config.width)

    def forward(
        self, rows: Tensor, mask: Tensor | None = None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """Transform rows [B, S, D]; `mask` [B, S] hides rows as keys; cross-attention reads `memory` [B, M, D]."""
        normed = self.self_norm(rows)
        rows = rows + self.self_attention(normed, normed, mask)
        if self.cross_attention is not None and self.cross_norm is not None and memory is not None:
            rows = rows + self.cross_attention(self.cross_norm(rows), memory, memory_mask)
        mixed: Tensor = rows + self.ffn(self.ffn_norm(rows))
        return mixed


def blocks(config: TransformerConfig, *, cross_attention: bool = False) -> nn.ModuleList:
    """Build the stack of blocks that a config describes."""
    return nn.ModuleList(Block(config, cross_attention=cross_attention) for _ in range(config.num_layers))


def mlp(*widths: int) -> nn.Sequential:
    """Build linear layers of these widths with GELU between them."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def linear_in_float32(linear: nn.Linear, rows: Tensor) -> Tensor:
    """Apply an output layer in float32, whatever the format of the rows, the weights and autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        bias: Tensor | None = linear.bias
        return F.linear(rows.float(), linear.weight.float(), None if bias is None else bias.float())


def learned(*shape: int, std: float = 0.02) -> nn.Parameter:
    """Make a learned table (queries, positions), initialized with normal noise."""
    return nn.Parameter(torch.randn(*shape) * std)


_LONGEST_WAVE, _STEPS_PER_PATCH = 100.0, 1.5


def patch_positions(grid: int, width: int, start: PositionStart) -> nn.Parameter:
    """Make the learned positions [grid * grid, width] of patches, row by row.

    The first half of the columns holds sines and cosines of the row, the second half those of the column, with
    amplitude 1, as in MAE (He et al., 2022). Normal noise of 0.02 is too weak next to the features to learn motion.

    Raises:
        ValueError: the width is not a multiple of 4.
    """
    if start is PositionStart.NORMAL:
        return learned(grid**2, width)
    if width % 4:
        raise ValueError(
            f"positions=sincos needs a width that is a multiple of 4, got {width}; or set positions=normal"
        )
    frequency = torch.exp(-math.log(_LONGEST_WAVE) * torch.arange(width // 4) / (width // 4))
    phase = torch.arange(grid)[:, None] * frequency * _STEPS_PER_PATCH
    axis = torch.cat([phase.sin(), phase.cos()], dim=1)
    rows, columns = axis[:, None].expand(-1, grid, -1), axis[None].expand(grid, -1, -1)
    return nn.Parameter(torch.cat([rows, columns], dim=-1).reshape(grid**2, width))


def unit_images(images: Tensor, size: int) -> Tensor:
    """Turn uint8 [..., 256, 256, 3] into float32 [..., 3, size, size] in [0, 1], on the tensor's own device.

    Resized pixels are whole grey levels, as in the image processors of the released DINOv2 and PaliGemma. On a CPU this
    is ten times as fast as resizing in float32, which took a third of a tiny model's co-training step.
    """
    lead = images.shape[:-3]
    pixels = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2)
    if pixels.shape[-1] != size:
        if pixels.device.type != "cpu":  # only the CPU resizes bytes
            pixels = pixels.float()
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True).round()
    return (pixels.float() / 255).reshape(*lead, 3, size, size)


def moved_images(images: Tensor, shift: Tensor) -> Tensor:
    """Move uint8 images [B, h, w, 3] by `shift` [B, 2] (down, right; fractions of a side), edges repeated.

    The shift is rounded to whole pixels, so that moved images stay as sharp as others.
    """
    rows, columns = (
        (torch.arange(size, device=images.device) - (shift[:, axis] * size).round().long()[:, None]).clamp(0, size - 1)
        for axis, size in enumerate(images.shape[1:3])
    )
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return images[sample, rows[:, :, None], columns[:, None, :]]


def byte_images(images: Tensor) -> Image:
    """Turn float [..., 3, h, w] in [0, 1] into uint8 [..., h, w, 3]; other values are clamped."""
    pixels = images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.asarray(pixels.movedim(-3, -1).cpu().numpy())
