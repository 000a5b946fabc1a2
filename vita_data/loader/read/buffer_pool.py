"""Reuses the memory of batches: touching new pages costs as much as a third of decoding into them."""

import weakref
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class BufferPool:
    """Lends arrays; an array is reused once no reference to it, or to a tensor made from it, is left."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)

    def lend(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array whose content is undefined."""
        num_bytes = prod(shape) * np.dtype(dtype).itemsize
        if not num_bytes:
            return np.empty(shape, dtype)
        free = self._free[num_bytes]
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(num_bytes)
        # All views of `loan` keep it alive, whereas views of an array that owns its memory keep only that array alive.
        loan = np.frombuffer(memory, dtype)
        weakref.finalize(loan, free.append, memory).atexit = False
        return loan.reshape(shape)
