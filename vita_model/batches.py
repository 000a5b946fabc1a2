"""Parts of batches: moved to a device, cut into micro-batches, shortened for a preview."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vita_data.types import Batch
from vita_model.vita import Draws

_TENSORS = ("images", "image_mask", "future", "future_mask", "action", "action_mask", "state", "state_mask")


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch's tensors; from pinned memory without waiting."""
    return _mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def samples(batch: Batch, part: slice) -> Batch:
    """Keep some samples of a batch."""
    return replace(
        _mapped(batch, lambda tensor: tensor[part]),
        source=batch.source[part],
        key=batch.key[part],
        instruction=batch.instruction[part],
    )


def micro_batches(batch: Batch, draws: Draws, count: int) -> list[tuple[Batch, Draws]]:
    """Cut a batch and its draws into equal parts.

    Raises:
        ValueError: the batch cannot be cut so.
    """
    size, rest = divmod(len(batch.key), count)
    if rest or not size:
        raise ValueError(f"a batch of {len(batch.key)} cannot be cut into {count} equal parts")
    parts = [slice(number * size, (number + 1) * size) for number in range(count)]
    keep = draws.keep_context
    return [
        (samples(batch, part), draws if keep is None else replace(draws, keep_context=keep[part])) for part in parts
    ]


def _mapped(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    changed: dict[str, Any] = {
        name: change(tensor) for name in _TENSORS if (tensor := getattr(batch, name)) is not None
    }
    return replace(batch, **changed)
