"""Where the bytes of a file are stored: a sparse file may declare a terabyte and hold nothing."""

import errno
import os
from collections.abc import Iterator

BLOCK_BYTES = 1 << 24


def stored_blocks(file: int, size: int, *, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the stored bytes of a file in blocks, with their places; holes, which hold only zeros, are passed over.

    Args:
        file: an open file descriptor.
        size: of the file.
        overlap: how many bytes of a block the next one repeats, for a search.
    """
    for first, stop in _extents(file, size):
        for at in range(first, stop, BLOCK_BYTES):
            yield at, os.pread(file, min(BLOCK_BYTES + overlap, stop - at), at)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    if not hasattr(os, "SEEK_DATA"):
        yield 0, size
        return
    stop = 0
    while stop < size:
        try:
            first = os.lseek(file, stop, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        stop = min(os.lseek(file, first, os.SEEK_HOLE), size)
        yield first, stop
