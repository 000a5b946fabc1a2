"""Demonstrations whose future follows from the present frame and the instruction: a hand moves to a named target.

Each scene has a red target on the left, a blue one on the right and a hand between them; the instruction names one
target. Each second, the hand moves towards it by at most one reach. One second after arrival, the gripper closes.
In `draw_orders`, the hand holds a target at the start, and the instruction says what to do: lift, move, or open. The
scene is seen from the side, so that lifting moves the hand up in the image.
Demonstrations are a finite set. All have video, and the first ones have actions; other seeds are held out.
Batches have the loader's format, with images of 32 px.
Letters: N demonstrations, T stored seconds, B batch, F futures, H steps of a chunk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.latent_world import HORIZON, SIZE, as_modality
from vita_data.slots import STATE_DIM
from vita_data.types import Batch, Json, Modality

SOURCE = "tasks"
FUTURES = 3
"""Length of a window in co-training, in seconds."""
NUM_STARTS = 3
"""Number of seconds at which windows of a demonstration start."""
NUM_FRAMES = NUM_STARTS + FUTURES
ORDERS = ("lift", "move", "open")
_COLOURS = {"red": (0.9, 0.1, 0.1), "blue": (0.15, 0.25, 0.95)}
_ACROSS = ((0.15, 0.3), (0.7, 0.85), (0.42, 0.58))
"""Ranges of the start positions of targets and hand, as fractions of the image width."""
_NUM_DIMS, _STORED_DIMS = 14, 40
_DX, _DY, _DZ, _GRIPPER = 7, 8, 9, 13
_STORED_GRIPPERS = (6, 22)
_REACH = 0.25
"""Largest motion of the hand per second, as a fraction of the image side."""
_EDGE = 0.15
_TARGET_HALF, _HAND_RADIUS, _FINGER_RADIUS = 0.18, 0.15, 0.08
_HAND_RGB, _FINGER_RGB = (0.95, 0.85, 0.6), (0.05, 0.05, 0.1)
_NOISE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrations:
    """A finite set of demonstrations."""

    seed: int
    frames: Tensor
    """uint8 [N, T, SIZE, SIZE, 3], one frame per second."""
    places: Tensor
    """[N, T, 2] positions of the hand, right and down, 0..1."""
    grippers: Tensor
    """[N, T], 1 open."""
    instructions: list[str]
    num_with_actions: int
    """Number of demonstrations with actions; they come first."""
    from_side: bool = False
    """Seen from the side, with the gripper moving in mid-second; else from above, with the gripper moving at once."""

    def __len__(self) -> int:
        """Count the demonstrations."""
        return len(self.frames)

    def draw(self, modality: Modality, size: int, seed: int, *, futures: int) -> Batch:
        """Draw windows of a modality; the same seed gives the same windows."""
        generator = torch.Generator().manual_seed(seed)
        among = len(self) if modality is Modality.VIDEO else self.num_with_actions
        number = torch.randint(among, (size,), generator=generator)
        start = torch.randint(NUM_STARTS, (size,), generator=generator)
        return as_modality(self.windows(number, start, futures=futures), modality)

    def windows(self, number: Tensor, start: Tensor, *, futures: int) -> Batch:
        """Give paired windows of demonstrations [B] that start at seconds [B]; the chunk covers the first second."""
        size, seconds = len(number), start[:, None] + torch.arange(1, futures + 1)
        state = torch.zeros(size, STATE_DIM)
        action, mask = self._chunks(number, start)
        return Batch(
            modality=Modality.PAIRED, source=[SOURCE] * size,
            key=[f"tasks-{self.seed}-{n}-{s}" for n, s in zip(number.tolist(), start.tolist(), strict=True)],
            instruction=[self.instructions[n] for n in number.tolist()],
            images=self.frames[number, start][:, None], image_mask=torch.ones(size, 1, dtype=torch.bool),
            future=self.frames[number[:, None], seconds], future_mask=torch.ones(size, futures, dtype=torch.bool),
            action=action, action_mask=mask, state=state, state_mask=torch.zeros_like(state, dtype=torch.bool),
        )  # fmt: skip

    def _chunks(self, number: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Give the motion within a second as actions and mask [B, H, 14]: displacements in reaches, -1 is closed."""
        step = (self.places[number, start + 1] - self.places[number, start]) / _REACH
        before, after = (2 * self.grippers[number, second] - 1 for second in (start, start + 1))
        action = torch.zeros(len(number), HORIZON, _NUM_DIMS)
        action[:, :, _DX] = step[:, None, 0]
        action[:, :, _DZ if self.from_side else _DY] = (-step if self.from_side else step)[:, None, 1]
        action[:, :, _GRIPPER] = after[:, None]
        if self.from_side:
            action[:, : HORIZON // 2, _GRIPPER] = before[:, None]
        mask = torch.zeros_like(action, dtype=torch.bool)
        mask[:, :, [_DX, _DZ if self.from_side else _DY, _GRIPPER]] = True
        return action, mask

    def every_window(self, size: int, *, futures: int) -> Iterator[Batch]:
        """Yield all windows once, shuffled, in paired batches; an incomplete last batch is left out."""
        order = torch.randperm(len(self) * NUM_STARTS, generator=torch.Generator().manual_seed(self.seed))
        for rows in order[: len(order) // size * size].reshape(-1, size):
            yield self.windows(rows // NUM_STARTS, rows % NUM_STARTS, futures=futures)

    def statistics(self) -> Mapping[str, Json]:
        """Give the statistics of the actions in the shards' format; stored units equal normalized units."""
        everything = self.windows(torch.arange(self.num_with_actions).repeat_interleave(NUM_STARTS),
                                  torch.arange(NUM_STARTS).repeat(self.num_with_actions), futures=1)  # fmt: skip
        mean = [0.0] * _STORED_DIMS
        for column, stored in ((_DX, 16), (_DY, 17), (_DZ, 18), (_GRIPPER, 22)):
            value = 0.0 if everything.action is None else float(everything.action[..., column].mean())
            mean[stored] = (value + 1) / 2 if stored in _STORED_GRIPPERS else value
        low, high, known = [-1.0] * _STORED_DIMS, [1.0] * _STORED_DIMS, [True] * _STORED_DIMS
        action: Json = {"mean": mean, "q01": low, "q99": high, "mask": known}
        return {SOURCE: {"source": {SOURCE: {"action": action}}}}


def draw_demonstrations(size: int, seed: int, *, share_with_actions: float = 1.0) -> Demonstrations:
    """Draw demonstrations; the same seed gives the same ones, independent of the share with actions."""
    generator = torch.Generator().manual_seed(seed)
    things = _layouts(size, generator)
    goals = torch.randint(len(_COLOURS), (size,), generator=generator)
    places, grippers = _paths(things[:, -1], things[torch.arange(size), goals])
    ground = (0.3 + 0.2 * torch.rand(size, 1, 1, 3, generator=generator)).expand(-1, SIZE, SIZE, -1)
    scene = _with_targets(ground, things[:, :-1])
    seconds = [_with_hand(scene, places[:, t], grippers[:, t], generator) for t in range(NUM_FRAMES)]
    names = list(_COLOURS)
    return Demonstrations(
        seed=seed, frames=torch.stack(seconds, dim=1), places=places, grippers=grippers,
        instructions=[names[goal] for goal in goals.tolist()],
        num_with_actions=round(size * share_with_actions),
    )  # fmt: skip


def draw_orders(size: int, seed: int, *, share_with_actions: float = 1.0) -> Demonstrations:
    """Draw demonstrations of hands that hold a target and follow the instruction; they depend only on the seed."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.tensor([0.15, 0.6]) + torch.tensor([0.2, 0.25]) * torch.rand(size, 2, generator=generator)
    orders = torch.randint(len(ORDERS), (size,), generator=generator)
    goals = torch.stack([start * torch.tensor([1.0, 0.0]) + torch.tensor([0.0, _EDGE]),
                         start * torch.tensor([0.0, 1.0]) + torch.tensor([1 - _EDGE, 0.0]), start])  # fmt: skip
    places, _ = _paths(start, goals[orders, torch.arange(size)])
    grippers = torch.zeros(places.shape[:2])
    grippers[orders == ORDERS.index("open"), 1:] = 1.0
    ground = (0.3 + 0.2 * torch.rand(size, 1, 1, 3, generator=generator)).expand(-1, SIZE, SIZE, -1)
    seconds = [
        _with_hand(_with_targets(ground, places[:, t, None]), places[:, t], grippers[:, t], generator)
        for t in range(NUM_FRAMES)
    ]
    return Demonstrations(
        seed=seed, frames=torch.stack(seconds, dim=1), places=places, grippers=grippers,
        instructions=[ORDERS[order] for order in orders.tolist()],
        num_with_actions=round(size * share_with_actions), from_side=True,
    )  # fmt: skip


def _layouts(size: int, generator: torch.Generator) -> Tensor:
    """Draw the positions of the targets and, last, of the hand [B, 3, 2]."""
    low, high = (torch.tensor(ends) for ends in zip(*_ACROSS, strict=True))
    drawn = torch.rand(size, len(_ACROSS), 2, generator=generator)
    across = low + (high - low) * drawn[..., 0]
    return torch.stack([across, _EDGE + (1 - 2 * _EDGE) * drawn[..., 1]], dim=-1)


def _paths(start: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Make paths from starts to goals [B, 2]: positions [B, T, 2] and grippers [B, T], closed after arrival."""
    places, grippers = [start], [torch.ones(len(start))]
    for _ in range(NUM_FRAMES - 1):
        way = goal - places[-1]
        far = way.norm(dim=1)
        grippers.append((far > 0).float() * grippers[-1])
        step = way * (_REACH / far.clamp(min=_REACH))[:, None]
        places.append(torch.where((far > _REACH)[:, None], places[-1] + step, goal))
    return torch.stack(places, dim=1), torch.stack(grippers, dim=1)


def _with_targets(ground: Tensor, targets: Tensor) -> Tensor:
    """Paint a square in each colour at targets [B, 1 or 2, 2] on scenes [B, SIZE, SIZE, 3]."""
    axis, image = (torch.arange(SIZE) + 0.5) / SIZE, ground
    for place, colour in zip(targets.unbind(dim=1), _COLOURS.values(), strict=False):
        inside = [(axis - place[:, one, None]).abs() < _TARGET_HALF for one in (0, 1)]
        square = inside[1][:, :, None] & inside[0][:, None, :]
        image = torch.where(square[..., None], torch.tensor(colour), image)
    return image


def _with_hand(scene: Tensor, place: Tensor, gripper: Tensor, generator: torch.Generator) -> Tensor:
    """Paint hands on scenes [B, SIZE, SIZE, 3]: a disc, with a dark one inside while the gripper is closed."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    across, down = axis[None, None] - place[:, 0, None, None], axis[None, :, None] - place[:, 1, None, None]
    distance = (across.square() + down.square()).sqrt()
    finger = (distance < _FINGER_RADIUS) & (gripper < 0.5)[:, None, None]
    image = torch.where((distance < _HAND_RADIUS)[..., None], torch.tensor(_HAND_RGB), scene)
    image = torch.where(finger[..., None], torch.tensor(_FINGER_RGB), image)
    image = image + _NOISE * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
