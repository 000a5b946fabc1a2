"""Copies of a rank's part of the tensors on the host, which are written while training changes the originals."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from vita_model.distributed import Ranks
from vita_model.training.checkpoint.shards import Chunk


class Staging:
    """Host memory for one checkpoint, allocated once, so that later checkpoints need no more."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks, self._buffers = ranks, dict[str, Tensor]()

    @torch.no_grad()
    def copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Chunk]:
        """Copy what this rank has to write; tensors that several ranks have in full are divided among them."""
        writers = _writers(tensors, self._ranks.world_size)
        chunks = {}
        for number, (name, value) in enumerate(tensors.items()):
            if isinstance(value, DTensor):
                if _writes_replica(value, number):
                    chunks[name] = self._chunk(name, value.to_local(), _offset(value), value.shape)
            elif writers[name] == self._ranks.rank:
                chunks[name] = self._chunk(name, value, (0,) * value.ndim, value.shape)
        if self._ranks.device.type == "cuda":
            torch.cuda.synchronize(self._ranks.device)
        return chunks

    def _chunk(self, name: str, values: Tensor, offset: tuple[int, ...], size: torch.Size) -> Chunk:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != values.shape:
            # Pinned memory lets a GPU copy several tensors at once.
            buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
            self._buffers[name] = buffer
        return Chunk(values=buffer.copy_(values, non_blocking=True), offset=offset, size=tuple(size))


def _writers(tensors: Mapping[str, Tensor], num_ranks: int) -> dict[str, int]:
    """Assign each unsharded tensor to the rank that has the fewest bytes so far; the same on all ranks."""
    writers, loads = {}, [0] * num_ranks
    for name, value in tensors.items():
        if not isinstance(value, DTensor):
            writers[name] = loads.index(min(loads))
            loads[writers[name]] += value.nbytes
    return writers


def _writes_replica(value: DTensor, number: int) -> bool:
    """Tell whether this rank writes its part, of which each node has a copy if weights are sharded within nodes."""
    mesh, place = value.device_mesh, value.device_mesh.get_coordinate()
    if place is None:
        return False
    copied = [dim for dim, placement in enumerate(value.placements) if isinstance(placement, Replicate)]
    return all(place[dim] == number % mesh.size(dim) for dim in copied)


def _offset(value: DTensor) -> tuple[int, ...]:
    found: Any = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    return tuple(found[1])
