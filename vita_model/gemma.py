"""Gemma's layers run by our own loop, and the attention mask between groups of tokens.

The loop returns keys and values as tensors: the library drops its cache under activation checkpointing.
Letters: B batch, S rows of this pass, P rows of the pass before (the prefix), W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GemmaModel
from transformers.models.gemma.modeling_gemma import GemmaAttention, GemmaDecoderLayer, apply_rotary_pos_emb


class Group(IntEnum):
    """The groups of a sequence, in the order in which they may look back (VITA eq 10)."""

    INPUT = 0
    TEXT = 1
    LATENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """Rotated keys and values of one layer, [B, heads, P, head width]."""

    key: Tensor
    value: Tensor

    def first(self, num_rows: int) -> "KeyValue":
        """Keep the first rows."""
        return KeyValue(key=self.key[:, :, :num_rows], value=self.value[:, :, :num_rows])


def group_mask(query: Sequence[Group], key: Sequence[Group], key_mask: Tensor, *, causal: Group | None) -> Tensor:
    """Say who may look at whom: bool [B, 1, len(query), len(key)].

    A row sees real rows (`key_mask` [B, len(key)]) of its own and of earlier groups; inside `causal` it sees no later
    row. The rows of `query` are the last ones of `key`.
    """
    query_group, key_group = torch.tensor(query), torch.tensor(key)
    allowed = key_group[None, :] <= query_group[:, None]
    if causal is not None:
        later = torch.arange(len(key))[None, :] > torch.arange(len(key) - len(query), len(key))[:, None]
        inside = (query_group[:, None] == causal) & (key_group[None, :] == causal)
        allowed = allowed & ~(later & inside)
    return allowed.to(key_mask.device)[None, None] & key_mask[:, None, None, :]


def positions(mask: Tensor, start: Tensor | None = None) -> Tensor:
    """Number real rows of mask [B, S] from 1, after `start` [B] earlier ones; holes consume no position."""
    count = mask.long().cumsum(dim=1)
    return count if start is None else count + start[:, None]


def run_layers(
    gemma: GemmaModel, rows: Tensor, position: Tensor, mask: Tensor, prefix: Sequence[KeyValue] | None = None
) -> tuple[Tensor, list[KeyValue]]:
    """Run all layers over rows [B, S, W] at `position` [B, S]; `mask` [B, 1, S, P + S].

    Returns:
        The normed hidden states [B, S, W] and this pass's own keys and values, one entry a layer.
    """
    rotary: tuple[Tensor, Tensor] = gemma.rotary_emb(rows, position_ids=position)
    kept: list[KeyValue] = []
    for index, layer in enumerate(gemma.layers):
        rows, own = _layer(cast("GemmaDecoderLayer", layer), rows, rotary, mask, prefix[index] if prefix else None)
        kept.append(own)
    hidden: Tensor = gemma.norm(rows)
    return hidden, kept


def _layer(
    layer: GemmaDecoderLayer, rows: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor, prefix: KeyValue | None
) -> tuple[Tensor, KeyValue]:
    mixed, own = _attend(layer.self_attn, layer.input_layernorm(rows), rotary, mask, prefix)
    rows = rows + mixed
    out: Tensor = rows + layer.mlp(layer.post_attention_layernorm(rows))
    return out, own


def _attend(
    attention: GemmaAttention, rows: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor, prefix: KeyValue | None
) -> tuple[Tensor, KeyValue]:
    query, key, value = (
        project(rows).reshape(*rows.shape[:2], -1, attention.head_dim).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    own = KeyValue(key=key, value=value)
    if prefix is not None:
        key, value = torch.cat([prefix.key, key], dim=2), torch.cat([prefix.value, value], dim=2)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attention.scaling, enable_gqa=True)
    out: Tensor = attention.o_proj(mixed.transpose(1, 2).flatten(2))
    return out, own
