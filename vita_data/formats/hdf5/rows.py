"""Rows of an HDF5 dataset, read in blocks of bounded bytes that never split a chunk.

A chunk is decompressed completely for any of its rows, so rows that share one are read together. A dataset may be
larger than memory, so only one block is held. The caller interprets the rows.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from vita_data.errors import EpisodeError, StorageError, raise_machine_fault
from vita_data.formats.hdf5.heap import require_ended_heaps, require_written
from vita_data.formats.hdf5.inside import open_inside
from vita_data.formats.raw_tree.file_head import unreadable

_LOCKING = "HDF5_USE_FILE_LOCKING"
"""An environment variable that takes precedence over the program's setting."""
MAX_BLOCK_BYTES = 32 << 20
_ENTRY_BYTES = 1 << 20
"""Assumed upper bound of the average size of a variable-length entry (an encoded image)."""
# the exception for damage depends on the damaged structure: a tree, a heap, a name, a type, a block
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError)


class DatasetRows:
    """The rows of a dataset; the file is opened again to read them, so the handle that found them may be closed."""

    def __init__(self, dataset: h5py.Dataset, *, name: str) -> None:
        self._path, self._key, self._name = dataset.file.filename, dataset.name, name

    def read(self, rows: Sequence[int], *, max_bytes: int = MAX_BLOCK_BYTES) -> Iterator[NDArray[Any]]:
        """Yield the values of ascending `rows`, one array per row; holds about `max_bytes`, at least one chunk.

        Raises:
            EpisodeError: the rows cannot be read.
        """
        try:
            with open_read_only(self._path) as file:
                dataset = open_inside(file, self._key, name=self._name)
                sizes = {"chunk_rows": _chunk_rows(dataset), "max_rows": _max_rows(dataset, max_bytes)}
                for first, group in blocks(rows, **sizes):
                    block = read_slice(dataset, first, group[-1] + 1)
                    for row in group:
                        yield block[row - first]
                    del block
        except (*DAMAGE, IndexError) as error:
            raise_machine_fault(error, self._name)
            what = unreadable(self._path, name=self._name, reason="the file is damaged", own={"hdf5"})
            raise EpisodeError(f"{self._name}: {self._key} cannot be read {what}") from error


def read_slice(dataset: h5py.Dataset, first: int, stop: int) -> NDArray[Any]:
    """Read rows `first` to `stop` of a dataset.

    Raises:
        OSError: they are damaged, or HDF5 would read them forever; other exceptions of damage are listed in `DAMAGE`.
    """
    if dataset.dtype.kind == "O" and dataset.ndim == 1:
        require_ended_heaps(dataset, first, stop)
    return np.asarray(dataset[first:stop])


def open_read_only(path: str | BinaryIO) -> h5py.File:
    """Open an HDF5 file for reading without locking it.

    A lock only keeps out writers, and raw data has none. It is not available on every network file system or while
    another program has the file open for writing; an intact file would then look broken.

    Raises:
        OSError: the file cannot be opened.
        StorageError: the environment makes HDF5 lock the file, which fails.
    """
    try:
        return _open_without_lock(path)
    except OSError as error:
        if "unable to lock" in str(error) and (value := os.environ.get(_LOCKING)):
            raise StorageError(
                f"{path}: HDF5 cannot lock the file, and {_LOCKING}={value} requires locking; unset that variable and "
                "run the same command again"
            ) from error
        raise


def _open_without_lock(path: str | BinaryIO) -> h5py.File:
    if isinstance(path, str):
        require_written(path)
    # A file that this process has open with a lock can be opened again only the same way, without a further lock.
    for locking in (False, None):
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if "flag values don't match" not in str(error):
                raise
    return h5py.File(path, "r", locking=True)


def _chunk_rows(dataset: h5py.Dataset) -> int:
    # Variable-length entries are stored outside the chunks, which contain only references.
    return int(dataset.chunks[0]) if dataset.chunks and dataset.dtype.kind != "O" else 1


def _max_rows(dataset: h5py.Dataset, max_bytes: int) -> int:
    if dataset.dtype.kind == "O":
        return max_bytes // _ENTRY_BYTES
    return int(max_bytes // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))))


def blocks(rows: Sequence[int], *, chunk_rows: int, max_rows: int) -> Iterator[tuple[int, list[int]]]:
    """Group ascending `rows` into reads (first row, rows): all rows of a chunk, and of neighbouring chunks while the
    read is within `max_rows`; chunks without a requested row are skipped.
    """
    group: list[int] = []
    for row in rows:
        if group:
            gap = row // chunk_rows - group[-1] // chunk_rows
            if gap > 1 or (gap == 1 and (row // chunk_rows + 1) * chunk_rows - group[0] > max_rows):
                yield group[0], group
                group = []
        group.append(int(row))
    if group:
        yield group[0], group
