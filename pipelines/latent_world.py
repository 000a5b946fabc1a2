"""A synthetic world whose future does not follow from the present: a hand moves by random actions.

Every batch is drawn from its own seed, so that nothing can be memorized and every evaluation is held out. The true
motion and position of the hand are known, so that the content of codes can be measured. Batches have the loader's
format, with images of 32 px.
Letters: B batch, H steps of a chunk.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vita_data.loader import PlanChange
from vita_data.slots import STATE_DIM
from vita_data.types import Batch, Modality

SIZE = 32
HORIZON = 12
NUM_DIMS = 14
MOVED = [7, 8, 13]
"""Columns of the right hand's motion right and down, and of its gripper."""
REACH = 0.3
"""Largest displacement per axis and second, as a fraction of the image side."""
_EDGE = 0.15
_SWITCHES = 0.3
"""Fraction of seconds in which the gripper opens or closes."""
_HAND_RADIUS, _FINGER_RADIUS = 0.15, 0.08
_HAND_RGB, _FINGER_RGB = (0.95, 0.6, 0.1), (0.05, 0.05, 0.35)
_NOISE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Paired windows with their true motion."""

    batch: Batch
    """Batch of modality paired: one view, one future one second later, a chunk that covers that second."""
    motion: Tensor
    """[B, 3] displacement right and down in reaches, and change of the gripper."""
    place: Tensor
    """[B, 2] final position of the hand, -1..1."""


def draw_scenes(size: int, seed: int) -> Scenes:
    """Draw windows; the same seed gives the same windows."""
    generator = torch.Generator().manual_seed(seed)
    moves = draw_moves(size, generator)
    frames = painted(moves, generator)
    return scenes_of(moves, frames, _chunk(moves.stop - moves.start, moves.grippers[1], generator), seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Motions of hands within a second."""

    start: Tensor
    """[B, 2] position right and down, as fractions of the image side."""
    stop: Tensor
    grippers: tuple[Tensor, Tensor]
    """[B] before and after, 1 open."""

    @property
    def motion(self) -> Tensor:
        """Displacements [B, 2] in reaches."""
        return (self.stop - self.start) / REACH


def draw_moves(size: int, generator: torch.Generator) -> Moves:
    """Draw motions that stay in the image."""
    start = _EDGE + (1 - 2 * _EDGE) * torch.rand(size, 2, generator=generator)
    step = (2 * torch.rand(size, 2, generator=generator) - 1) * REACH
    leaves = (start + step < _EDGE) | (start + step > 1 - _EDGE)
    step = torch.where(leaves, -step, step)
    before = (torch.rand(size, generator=generator) < 0.5).float()
    return Moves(start=start, stop=start + step, grippers=(before, next_gripper(before, generator)))


def next_gripper(before: Tensor, generator: torch.Generator) -> Tensor:
    """Draw grippers [B] one second later."""
    return torch.where(torch.rand(len(before), generator=generator) < _SWITCHES, 1 - before, before)


def painted(moves: Moves, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paint the frames before and after the second, uint8 [B, SIZE, SIZE, 3], with the same background."""
    ground = F.interpolate(
        0.2 + 0.3 * torch.rand(len(moves.start), 3, 3, 3, generator=generator), size=(SIZE, SIZE), mode="bilinear"
    ).permute(0, 2, 3, 1)
    first = _painted(ground, moves.start, moves.grippers[0], generator)
    return first, _painted(ground, moves.stop, moves.grippers[1], generator)


def scenes_of(moves: Moves, frames: tuple[Tensor, Tensor], chunk: Tensor, seed: int) -> Scenes:
    """Combine frames and chunks [B, H, 3] (speeds right and down in reaches per second, gripper -1..1) to windows."""
    size = len(chunk)
    action = torch.zeros(size, chunk.shape[1], NUM_DIMS)
    action[:, :, MOVED] = chunk
    mask = torch.zeros_like(action, dtype=torch.bool)
    mask[:, :, MOVED] = True
    state = torch.zeros(size, STATE_DIM)
    batch = Batch(
        modality=Modality.PAIRED, source=["world"] * size, key=[f"world-{seed}-{row}" for row in range(size)],
        instruction=["move the hand"] * size,
        images=frames[0][:, None], image_mask=torch.ones(size, 1, dtype=torch.bool),
        future=frames[1][:, None], future_mask=torch.ones(size, 1, dtype=torch.bool),
        action=action, action_mask=mask, state=state, state_mask=torch.zeros_like(state, dtype=torch.bool),
    )  # fmt: skip
    before, after = moves.grippers
    motion = torch.cat([moves.motion, (after - before)[:, None]], dim=1)
    return Scenes(batch=batch, motion=motion, place=2 * moves.stop - 1)


def _chunk(step: Tensor, gripper: Tensor, generator: torch.Generator) -> Tensor:
    """Spread displacements [B, 2] over the second, with a random slope of the speed: chunks [B, H, 3]."""
    slope = torch.rand(len(step), 1, 2, generator=generator) - 0.5
    profile = 1 + slope * torch.cos(math.pi * (torch.arange(HORIZON) + 0.5) / HORIZON)[None, :, None]
    closed = (2 * gripper - 1)[:, None, None].expand(-1, HORIZON, -1)
    return torch.cat([step[:, None] * profile / REACH, closed], dim=-1)


def _painted(ground: Tensor, place: Tensor, gripper: Tensor, generator: torch.Generator) -> Tensor:
    """Paint hands on scenes [B, SIZE, SIZE, 3]: a disc, with a dark one inside while the gripper is closed."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    distance = (
        (axis[None, None] - place[:, 0, None, None]) ** 2 + (axis[None, :, None] - place[:, 1, None, None]) ** 2
    ).sqrt()
    hand = distance < _HAND_RADIUS
    finger = (distance < _FINGER_RADIUS) & (gripper < 0.5)[:, None, None]
    image = torch.where(hand[..., None], torch.tensor(_HAND_RGB), ground)
    image = torch.where(finger[..., None], torch.tensor(_FINGER_RGB), image)
    image = image + _NOISE * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldMix:
    """The modalities of a cycle of batches, and the batch size of each modality."""

    cycle: tuple[Modality, ...]
    sizes: Mapping[Modality, int]


PAIRED_MIX = WorldMix(
    cycle=(Modality.PAIRED, Modality.VIDEO, Modality.PAIRED, Modality.ACTION),
    sizes={Modality.PAIRED: 32, Modality.VIDEO: 32, Modality.ACTION: 64},
)
UNPAIRED_MIX = WorldMix(
    cycle=(Modality.VIDEO, Modality.VIDEO, Modality.VIDEO, Modality.ACTION),
    sizes={Modality.VIDEO: 32, Modality.ACTION: 64},
)


DrawBatch = Callable[[Modality, int, int], Batch]
"""Draws a batch, given modality, size and seed."""


def draw_batch(modality: Modality, size: int, seed: int) -> Batch:
    """Draw windows of the world with a modality."""
    return as_modality(draw_scenes(size, seed).batch, modality)


class WorldStream:
    """An endless stream of a world's batches with the loader's interface; batch k depends only on the seed and k."""

    def __init__(self, mix: WorldMix, *, seed: int = 0, draw: DrawBatch = draw_batch) -> None:
        self._mix, self._seed, self._step, self._draw = mix, seed, 0, draw

    def __next__(self) -> Batch:
        """Give the next batch."""
        modality = self._mix.cycle[self._step % len(self._mix.cycle)]
        self._step += 1
        return self._draw(modality, self._mix.sizes[modality], 100_000 * self._seed + self._step)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of the mix."""
        return tuple(dict.fromkeys(self._mix.cycle))

    @property
    def substituted(self) -> Mapping[str, int]:
        """Always empty, because no window is damaged."""
        return {}

    def state_dict(self) -> Mapping[str, object]:
        """Give the position."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, object], *, plan_change: PlanChange) -> None:
        """Restore a position."""
        self._step = int(str(state["step"]))


def as_modality(batch: Batch, modality: Modality) -> Batch:
    """Remove the members of a paired batch that another modality does not have."""
    if modality is Modality.VIDEO:
        return replace(batch, modality=modality, action=None, action_mask=None, state=None, state_mask=None)
    if modality is Modality.ACTION:
        return replace(batch, modality=modality, images=None, image_mask=None, future=None, future_mask=None,
                       state=None, state_mask=None)  # fmt: skip
    return batch
