"""Memory that anybody still sees is never lent again, and all other memory is."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vita_data.loader.read.buffer_pool import BufferPool

HOLDERS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda lent: lent,
    "view": lambda lent: lent[1:, ::2].T,
    "reshaped": lambda lent: lent.reshape(-1).view(np.int8),
    "memoryview": memoryview,
    "tensor": torch.from_numpy,
    "slice of a tensor": lambda lent: torch.from_numpy(lent)[2:, 1],
    "array of a tensor": lambda lent: torch.from_numpy(lent)[1:].numpy(),
    "storage of a tensor": lambda lent: torch.from_numpy(lent).untyped_storage(),
    "detached": lambda lent: torch.from_numpy(lent).detach().view(torch.uint8),
    "dlpack": torch.from_dlpack,
}


def address(lent: np.ndarray) -> int:
    return int(lent.__array_interface__["data"][0])


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_that_is_seen_through_anything_is_not_lent_again(holder: str) -> None:
    buffers = BufferPool()
    lent = buffers.lend((6, 8), np.uint8)
    lent[:] = 7
    first, held = address(lent), HOLDERS[holder](lent)
    del lent
    gc.collect()
    others = [buffers.lend((6, 8), np.uint8) for _ in range(5)]
    for other in others:
        other[:] = 1

    assert first not in [address(other) for other in others]
    assert set(bytes(np.asarray(held).tobytes() if holder != "storage of a tensor" else bytes(held))) == {7}
    del held, other, others
    gc.collect()
    assert first in [address(one) for one in [buffers.lend((6, 8), np.uint8) for _ in range(6)]]


def test_memory_comes_back_whatever_the_shape_of_the_same_size() -> None:
    buffers = BufferPool()
    first = address(buffers.lend((4, 8), np.float32))

    assert address(buffers.lend((128,), np.bool_)) == first


@pytest.mark.parametrize("shape", [(0,), (5, 0, 3)])
def test_nothing_can_be_lent(shape: tuple[int, ...]) -> None:
    lent = BufferPool().lend(shape, np.float32)

    assert (lent.shape, lent.dtype) == (shape, np.float32)


def test_what_is_lent_may_outlive_the_arena() -> None:
    buffers = BufferPool()
    lent = buffers.lend((3,), np.float32)
    lent[:] = 2
    del buffers
    gc.collect()

    assert lent.tolist() == [2, 2, 2]


def test_threads_that_lend_and_drop_never_share_memory() -> None:
    buffers, faults = BufferPool(), []

    def work(number: int) -> None:
        kept: list[np.ndarray] = []
        for turn in range(300):
            lent = buffers.lend((64,), np.int64)
            lent[:] = number * 1000 + turn
            kept.append(lent)
            if turn % 3 == 0:
                kept = kept[-2:]
            faults.extend(one for one in kept if (one != one[0]).any() or one[0] // 1000 != number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
