"""Memory of batches that is used again: touching new pages costs as much as a third of decoding into them."""

import weakref
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class BufferPool:
    """Lends arrays; one comes back when nothing refers to it any more, neither the array nor a tensor made of it."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)

    def lend(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Give an array whose content is left from earlier use."""
        num_bytes = prod(shape) * np.dtype(dtype).itemsize
        if not num_bytes:
            return np.empty(shape, dtype)
        free = self._free[num_bytes]
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(num_bytes)
        # All views of `loan` hold it, while views of an array that owns its memory would hold only that.
        loan = np.frombuffer(memory, dtype)
        weakref.finalize(loan, free.append, memory).atexit = False
        return loan.reshape(shape)
