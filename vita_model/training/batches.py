"""Batches: their source, moving them to a device, splitting them, and making them from noise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from vita_data.loader import PlanChange
from vita_data.slots import NUM_ACTION_DIMS, STATE_DIM
from vita_data.types import IMAGE_SIZE, Batch, Modality, Stage, WindowSpec
from vita_model.network.prediction import Draws

_FUTURES = {Stage.WARMUP: 1, Stage.COTRAIN: 12, Stage.FINETUNE: 0}
_HORIZON = 12
_PER_SAMPLE = ("keep_context", "view_shift", "token_seeds")
"""Fields of `Draws` that have one entry per sample."""


class BatchStream(Protocol):
    """An endless iterator of batches that can save and restore its position, such as `vita_data.loader`'s."""

    def __next__(self) -> Batch:
        """Give the next batch."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that its batches can have."""

    @property
    def substituted(self) -> Mapping[str, int]:
        """Number of damaged windows replaced since the process started, by source."""

    def state_dict(self) -> Mapping[str, object]:
        """Give the position after the last batch, as JSON values."""

    def load_state_dict(self, state: Mapping[str, object], *, plan_change: PlanChange) -> None:
        """Restore a position; `plan_change` decides whether a position of another mixture is accepted."""


def samples(batch: Batch, part: slice) -> Batch:
    """Select samples of a batch."""
    return replace(
        batch.mapped(lambda tensor: tensor[part]),
        source=batch.source[part],
        key=batch.key[part],
        instruction=batch.instruction[part],
    )


def micro_batches(batch: Batch, draws: Draws, count: int) -> list[tuple[Batch, Draws]]:
    """Split a batch and its draws into equal parts.

    Raises:
        ValueError: the batch cannot be split equally.
    """
    size, rest = divmod(len(batch.key), count)
    if rest or not size:
        raise ValueError(f"cannot split a batch of {len(batch.key)} samples into {count} equal parts")
    parts = [slice(number * size, (number + 1) * size) for number in range(count)]
    return [(samples(batch, part), _drawn(draws, part)) for part in parts]


def _drawn(draws: Draws, part: slice) -> Draws:
    """Select the choices of some samples; choices for the whole batch stay unchanged."""
    mine: dict[str, Any] = {
        name: None if (value := getattr(draws, name)) is None else value[part] for name in _PER_SAMPLE
    }
    return replace(draws, **mine)


def random_batch(
    modality: Modality,
    stage: Stage,
    size: int,
    device: torch.device,
    *,
    windows: WindowSpec | None = None,
    num_action_dims: int = NUM_ACTION_DIMS,
) -> Batch:
    """Make a batch of noise with all members of its modality, unmasked; default `windows`: the stage's, one view."""
    num_views, num_futures, horizon = (
        (1, _FUTURES[stage], _HORIZON) if windows is None else (len(windows.views), windows.futures, windows.horizon)
    )
    images = future = image_mask = future_mask = action = action_mask = state = state_mask = None
    if modality is not Modality.ACTION:
        shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
        images = torch.randint(256, (size, num_views, *shape), dtype=torch.uint8, device=device)
        future = images[:, :1].expand(size, num_futures, *shape).clone()
        image_mask = torch.ones(size, num_views, dtype=torch.bool, device=device)
        future_mask = torch.ones(size, num_futures, dtype=torch.bool, device=device)
    if modality is not Modality.VIDEO:
        action = torch.rand(size, horizon, num_action_dims, device=device) * 2 - 1
        action_mask = torch.ones_like(action, dtype=torch.bool)
        state = torch.rand(size, STATE_DIM, device=device) * 2 - 1
        state_mask = torch.ones_like(state, dtype=torch.bool)
    return Batch(
        modality=modality, source=["noise"] * size, key=[f"noise-{slot}" for slot in range(size)],
        instruction=["pick up the cup"] * size, images=images, image_mask=image_mask, future=future,
        future_mask=future_mask, action=action, action_mask=action_mask, state=state, state_mask=state_mask,
    )  # fmt: skip
