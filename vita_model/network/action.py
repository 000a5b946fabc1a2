"""The action auto-encoder: an orthonormal DCT, the action encoder (E_a) and the action decoder (D_a).

Letters: B batch, H steps of a chunk, A action dims (14 = left 7, right 7; with joints 28), K latents, D latent
width, N context rows. Actions are normalized (vita_data/README.md); masked entries are set to zero here and have no
effect.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vita_data.slots import NUM_ACTION_DIMS, NUM_JOINTS
from vita_model.network.configs import ActionContext, ActionDecoderConfig, ActionEncoderConfig, SegmentLatents
from vita_model.network.layers import blocks, learned, linear_in_float32, mlp

ACTION_NAMES = tuple(
    f"{arm}_{name}" for arm in ("left", "right") for name in ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
)
"""Columns 0:7 and 16:23 of the 40 stored columns (vita_data/README.md)."""
JOINT_NAMES = tuple(f"{arm}_joint_{number}" for arm in ("left", "right") for number in range(1, NUM_JOINTS + 1))
"""Columns 7:14 and 23:30, which follow in actions with joints."""


def dct_matrix(num_steps: int, device: torch.device | None = None) -> Tensor:
    """Build the orthonormal DCT-II as float32 [H, H]: coefficients = matrix @ values; the transpose inverts."""
    frequency = torch.arange(num_steps, dtype=torch.float64, device=device)[:, None]
    time = torch.arange(num_steps, dtype=torch.float64, device=device)[None, :]
    matrix = torch.cos(math.pi * (time + 0.5) * frequency / num_steps) * math.sqrt(2 / num_steps)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


class ActionEncoder(nn.Module):
    """E_a: encode an action chunk as one latent, by DCT along time, flatten, MLP (VITA eq 6)."""

    dct: Tensor

    def __init__(
        self, config: ActionEncoderConfig, *, latent_width: int, num_action_dims: int = NUM_ACTION_DIMS
    ) -> None:
        super().__init__()
        self.horizon = config.horizon
        self.register_buffer("dct", dct_matrix(config.horizon), persistent=False)
        self.mlp = mlp(config.horizon * num_action_dims, config.width, config.width, latent_width)

    def forward(self, action: Tensor, mask: Tensor) -> Tensor:
        """Encode actions [B, H, A] with mask [B, H, A] as one latent [B, 1, D].

        Raises:
            ValueError: the chunks do not have the encoder's horizon.
        """
        if action.shape[1] != self.horizon:
            raise ValueError(f"expected {self.horizon} steps (the action encoder's horizon), got {action.shape[1]}")
        with torch.autocast(action.device.type, enabled=False):
            coefficients = self.dct @ torch.where(mask, action, 0.0).float()
        latent: Tensor = self.mlp(coefficients.flatten(1))
        return latent[:, None]


@dataclass(frozen=True, slots=True)
class DecodedActions:
    """Decoded action chunks [B, H, A]."""

    actions: Tensor
    from_latents: Tensor | None = None
    """The same before the states corrected them (`context=correction`)."""


class ActionDecoder(nn.Module):
    """D_a: decode latents and optional context to an action chunk, as MLP(inverse DCT(transformer)) (VITA eq 8, 8.1).

    Assumes: no context by default. A decoder that sees the backbone's states gets the actions from them and ignores the
        latents: another sample's latents then do not increase its error.
    Assumes: one learned query per frequency, decoded in parallel, so that the same weights work for every horizon.
    """

    def __init__(
        self,
        config: ActionDecoderConfig,
        *,
        latent_width: int,
        context_width: int,
        num_action_dims: int = NUM_ACTION_DIMS,
    ) -> None:
        super().__init__()
        width = config.blocks.width
        self.queries = learned(config.max_steps, width)
        self.num_segments = config.num_segments
        self.reads_own = config.num_segments > 1 and config.segment_latents is SegmentLatents.OWN
        self.segments = learned(config.num_segments, width) if config.num_segments > 1 else None
        self.latent_in = nn.Linear(latent_width, width)
        self.latent_position = learned(config.max_latents, width)
        self.context_in = None if config.context is ActionContext.NONE else nn.Linear(context_width, width)
        self.blocks = blocks(config.blocks, cross_attention=True)
        self.norm = nn.LayerNorm(width)
        self.out = mlp(width, width, num_action_dims)
        corrects = config.context is ActionContext.CORRECTION
        self.correction = mlp(width, width, num_action_dims) if corrects else None

    def forward(
        self, latents: Tensor, *, num_steps: int, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> DecodedActions:
        """Decode latents [B, K, D], with context [B, N, C] where mask [B, N] is True, into actions [B, H, A].

        Without a context, nothing is corrected.

        Raises:
            ValueError: the number of segments does not divide the steps or (for `segment_latents=own`) the latents, or
                a context is given although the decoder takes none.
        """
        length, rest = divmod(num_steps, self.num_segments)
        if rest or not length:
            raise ValueError(f"cannot split {num_steps} steps into {self.num_segments} equal segments")
        memory = self.latent_in(latents) + self.latent_position[: latents.shape[1]]
        rows = self._queries(length).expand(len(latents), -1, -1)
        num_parts = self.num_segments if self.reads_own else 1
        if latents.shape[1] % num_parts:
            raise ValueError(f"cannot split {latents.shape[1]} latents evenly among {num_parts} segments")
        memory, rows = _parts(memory, num_parts), _parts(rows, num_parts)
        shape = (len(latents), self.num_segments, length)
        if context is None or context_mask is None:
            return DecodedActions(_head(self.out, self._steps(rows, memory, None, shape)))
        if self.context_in is None:
            raise ValueError("expected no context, since action_decoder.context is none")
        shown = context_mask.repeat_interleave(num_parts, dim=0)
        seen = self.context_in(context).repeat_interleave(num_parts, dim=0)
        if self.correction is not None:
            alone = _head(self.out, self._steps(rows, memory, None, shape))
            return DecodedActions(alone.detach() + _head(self.correction, self._steps(rows, seen, shown, shape)), alone)
        mask = torch.cat([shown.new_ones(memory.shape[:2]), shown], dim=1)
        return DecodedActions(_head(self.out, self._steps(rows, torch.cat([memory, seen], dim=1), mask, shape)))

    def _steps(self, rows: Tensor, memory: Tensor, mask: Tensor | None, shape: tuple[int, int, int]) -> Tensor:
        """Transform the queries' rows over a memory and invert the DCT of each segment: a row per step [B, H, W].

        `shape` gives samples, segments, and steps of a segment.
        """
        for block in self.blocks:
            rows = block(rows, memory=memory, memory_mask=mask)
        with torch.autocast(rows.device.type, enabled=False):
            spectra = self.norm(rows.float()).reshape(*shape, -1)
            steps: Tensor = (dct_matrix(shape[-1], rows.device).T @ spectra).flatten(1, 2)
        return steps

    def _queries(self, length: int) -> Tensor:
        """Give one query per frequency and segment [S x length, W]."""
        queries = self.queries[:length]
        return queries if self.segments is None else (self.segments[:, None] + queries).flatten(0, 1)


def _head(layers: nn.Sequential, rows: Tensor) -> Tensor:
    """Give actions in float32: bf16 would round a command to a few steps per thousand."""
    return linear_in_float32(cast("nn.Linear", layers[-1]), layers[:-1](rows))


def _parts(rows: Tensor, num_parts: int) -> Tensor:
    """Split the rows of each sample [B, N, W] into parts that are decoded separately [B x parts, N / parts, W]."""
    return rows.reshape(len(rows) * num_parts, rows.shape[1] // num_parts, rows.shape[2])
