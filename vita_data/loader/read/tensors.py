"""The memory of batches as tensors: pinned if CUDA is available, else reused pages of earlier batches."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from vita_data.loader.order.plan import Plan
from vita_data.loader.read.buffer_pool import BufferPool
from vita_data.loader.read.decode import ARRAYS, BatchArrays
from vita_data.slots import STATE_DIM
from vita_data.types import IMAGE_SIZE, Modality


class BatchMemory:
    """Lends the tensors of batches."""

    def __init__(self) -> None:
        self._buffers = BufferPool()
        self._pinned = torch.cuda.is_available()
        # Use the device of the thread that makes the loader; the planner's thread would pin on the first device.
        self._device = torch.cuda.current_device() if self._pinned else 0

    def lend(self, plan: Plan, modality: Modality, size: int) -> dict[str, torch.Tensor]:
        """Return the tensors of a modality's batch by name, with undefined content."""
        spec, image = plan.windows, (IMAGE_SIZE, IMAGE_SIZE, 3)
        views, futures, chunk = (
            (size, len(spec.views)),
            (size, spec.futures),
            (size, spec.horizon, plan.num_action_dims),
        )
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {}
        if modality is not Modality.ACTION:
            shapes |= {"images": ((*views, *image), np.uint8), "image_mask": (views, np.bool_)}
            shapes |= {"future": ((*futures, *image), np.uint8), "future_mask": (futures, np.bool_)}
        if modality is not Modality.VIDEO:
            shapes |= {"action": (chunk, np.float32), "action_mask": (chunk, np.bool_)}
            shapes |= {"state": ((size, STATE_DIM), np.float32), "state_mask": ((size, STATE_DIM), np.bool_)}
        with self._on_device():
            return {name: self._tensor(shape, dtype) for name, (shape, dtype) in shapes.items()}

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._pinned else nullcontext()

    def _tensor(self, shape: tuple[int, ...], dtype: type[np.generic]) -> torch.Tensor:
        if not self._pinned:
            return torch.from_numpy(self._buffers.lend(shape, dtype))
        # torch itself keeps pinned memory for reuse.
        return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=True)


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> BatchArrays:
    """Return the same memory as numpy arrays."""
    return BatchArrays(**{name: tensors[name].numpy() if name in tensors else None for name in ARRAYS})
