"""Gemma's layers in our own loop, and the attention mask between groups of tokens.

The loop returns keys and values as tensors, because the library drops its cache under activation checkpointing.
Letters: B batch, S rows of this pass, P rows of the previous pass (the prefix), W width.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GemmaModel
from transformers.models.gemma.modeling_gemma import GemmaAttention, GemmaDecoderLayer, apply_rotary_pos_emb


class Group(IntEnum):
    """Token groups of a sequence; each can attend to itself and to earlier groups (VITA eq 10)."""

    INPUT = 0
    TEXT = 1
    LATENT = 2
    ACTION = 3
    """Action latents, which attend to the frame latents (`VisualReasoning.EXPLICIT`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """Rotated keys and values of one layer, [B, heads, P, head width]."""

    key: Tensor
    value: Tensor

    def first(self, num_rows: int) -> "KeyValue":
        """Keep the first rows."""
        return KeyValue(key=self.key[:, :, :num_rows], value=self.value[:, :, :num_rows])

    def followed_by(self, later: "KeyValue") -> "KeyValue":
        """Append the rows of a later pass."""
        return KeyValue(key=_joined(self.key, later.key), value=_joined(self.value, later.value))


def group_mask(query: Sequence[Group], key: Sequence[Group], key_mask: Tensor, *, causal: Collection[Group]) -> Tensor:
    """Build the attention mask bool [B, 1, len(query), len(key)].

    A row attends to unmasked rows (`key_mask` [B, len(key)]) of its own and of earlier groups, except later rows within
    the groups of `causal`. The rows of `query` are the last rows of `key`.
    """
    device = key_mask.device
    query_group, key_group = _numbers(query, device), _numbers(key, device)
    allowed = key_group[None, :] <= query_group[:, None]
    row = torch.arange(len(key), device=device)
    later = row[None, :] > row[len(key) - len(query) :, None]
    for group in causal:
        allowed = allowed & ~(later & (query_group[:, None] == group) & (key_group[None, :] == group))
    return allowed[None, None] & key_mask[:, None, None, :]


def _numbers(groups: Sequence[Group], device: torch.device) -> Tensor:
    """Build the group numbers on the device, because CUDA graphs do not allow copies from the host."""
    starts = [place for place in range(len(groups)) if not place or groups[place] != groups[place - 1]]
    runs = zip(starts, [*starts[1:], len(groups)], strict=True)
    return torch.cat([torch.full((end - start,), int(groups[start]), device=device) for start, end in runs])


def positions(mask: Tensor, start: Tensor | None = None) -> Tensor:
    """Number the unmasked rows of mask [B, S] from 1, or from `start` [B] + 1; masked rows get no new position."""
    count = mask.long().cumsum(dim=1)
    return count if start is None else count + start[:, None]


class CachedLayer(nn.Module):
    """A Gemma layer that also returns its keys and values; the weights keep their names.

    It is a module, so that FSDP2, compilation and recomputation, which hook into module calls, work with our loop.
    Inputs and outputs are plain tensors, because FSDP2 does not look inside other containers.
    """

    def __init__(self, layer: GemmaDecoderLayer) -> None:
        super().__init__()
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm

    def forward(
        self,
        rows: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor,
        prefix_key: Tensor | None = None,
        prefix_value: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer on rows [B, S, W], which also attend to the prefix.

        Returns:
            The rows, their rotated keys [B, heads, S, head width], and their values [B, S, heads * head width]. Values
            are not reshaped, because FSDP2 warns about modules that return views.
        """
        attention: GemmaAttention = self.self_attn
        normed = self.input_layernorm(rows)
        values: Tensor = attention.v_proj(normed)
        width = attention.head_dim
        query, key = (_heads(project(normed), width) for project in (attention.q_proj, attention.k_proj))
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        value = _joined(prefix_value, _heads(values, width))
        mixed = _attend(query, _joined(prefix_key, key), value, mask, scale=attention.scaling)
        rows = rows + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        out: Tensor = rows + self.mlp(self.post_attention_layernorm(rows))
        return out, key, values


def give_caches(gemma: GemmaModel) -> GemmaModel:
    """Replace the library's layers by ours, with the same weights; the library's own forward no longer works."""
    gemma.layers = nn.ModuleList(CachedLayer(cast("GemmaDecoderLayer", layer)) for layer in gemma.layers)
    return gemma


def run_layers(
    gemma: GemmaModel, rows: Tensor, position: Tensor, mask: Tensor, prefix: Sequence[KeyValue] | None = None
) -> tuple[Tensor, list[KeyValue]]:
    """Run all layers (replaced by `give_caches`) on rows [B, S, W] at `position` [B, S]; `mask` is [B, 1, S, P + S].

    Returns:
        The normalized hidden states [B, S, W], and this pass's keys and values, one entry per layer.
    """
    rotary: tuple[Tensor, Tensor] = gemma.rotary_emb(rows, position_ids=position)
    kept: list[KeyValue] = []
    for index, layer in enumerate(gemma.layers):
        before = (prefix[index].key, prefix[index].value) if prefix else ()
        rows, key, values = layer(rows, rotary, mask, *before)
        kept.append(KeyValue(key=key, value=_heads(values, key.shape[-1])))
    hidden: Tensor = gemma.norm(rows)
    return hidden, kept


def _heads(rows: Tensor, width: int) -> Tensor:
    """Split rows [B, S, heads * width] as [B, heads, S, width]."""
    return rows.reshape(*rows.shape[:2], -1, width).transpose(1, 2)


def _joined(prefix: Tensor | None, own: Tensor) -> Tensor:
    return own if prefix is None else torch.cat([prefix.to(own.dtype), own], dim=2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, scale: float) -> Tensor:
    """Attend with one key-value head expanded to all heads: fused kernels with a mask do not support shared heads."""
    shape = (-1, query.shape[1], -1, -1)
    return F.scaled_dot_product_attention(query, key.expand(shape), value.expand(shape), attn_mask=mask, scale=scale)
