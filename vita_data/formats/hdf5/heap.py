"""Checks for variable-length values in an HDF5 file (encoded images, texts); without them, reading may never end.

Such values are stored in heaps all over the file. An interrupted download into preallocated space leaves a heap that
continues in zeros, and HDF5 (2.0 and earlier) loops forever over its free space of 0 bytes.

Layout: HDF5 File Format Specification, "Global Heap"; for the references, `H5T__vlen_disk_write` of the library.
"""

import os
import re
import struct
from collections.abc import Iterator
from functools import lru_cache

import h5py
import numpy as np

from vita_data.formats.extents import stored_blocks
from vita_data.formats.limits import MAX_ARRAY_BYTES

UNWRITTEN = "unwritten heap"
"""Text of the error that is raised for an unwritten heap."""
_REFERENCE = np.dtype([("num_items", "<u4"), ("address", "<u8"), ("index", "<u4")])
_MAGIC = b"GCOL"
_HEAP, _OBJECT = struct.Struct("<4s4xQ"), struct.Struct("<H6xQ")
_TAIL_BYTES = 512
_FREE = 0
"""Index of free space, whose size includes its own header."""


def require_written(path: str) -> None:
    """Refuse a file if HDF5 would read parts of it forever; only files with unwritten space are checked in detail.

    Raises:
        OSError: a heap of the file ends in zeros, or the file cannot be read.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(file)
        size = found.st_size
        is_suspect = not any(os.pread(file, _TAIL_BYTES, max(0, size - _TAIL_BYTES)))
        if size and hasattr(os, "SEEK_HOLE"):
            is_suspect |= os.lseek(file, 0, os.SEEK_HOLE) < size
    finally:
        os.close(file)
    if size and is_suspect:
        _require_all_end(path, size, found.st_mtime_ns)


def require_ended_heaps(dataset: h5py.Dataset, first: int, stop: int) -> None:
    """Refuse entries `first` to `stop` of a dataset [T] if HDF5 would read them forever.

    If the references to them pass through a filter, all heaps of the file are checked, once.

    Raises:
        OSError: their heap ends in zeros, or the file cannot be read.
    """
    path = dataset.file.filename
    if dataset.id.get_create_plist().get_nfilters():
        found = os.stat(path)
        _require_all_end(path, found.st_size, found.st_mtime_ns)
        return
    base = dataset.file.userblock_size
    with open(path, "rb", buffering=0) as file:
        data = b"".join(os.pread(file.fileno(), size, at) for at, size in _stretches(dataset, first, stop))
        references = np.frombuffer(data[: len(data) // _REFERENCE.itemsize * _REFERENCE.itemsize], _REFERENCE)
        if (num_bytes := int(references["num_items"].sum(dtype=np.int64))) > MAX_ARRAY_BYTES:
            raise OSError(f"{stop - first} entries declare {num_bytes} bytes, expected at most {MAX_ARRAY_BYTES}")
        for address in np.unique(references["address"][references["num_items"] > 0]).tolist():
            _require_end(file.fileno(), base + address)


def _stretches(dataset: h5py.Dataset, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the file offset and size of the references to entries, without unwritten ones."""
    size = _REFERENCE.itemsize
    if not dataset.chunks:
        if (offset := dataset.id.get_offset()) is not None:
            yield offset + size * first, size * (stop - first)
        return
    (num_rows,) = dataset.chunks
    for row in range(first // num_rows * num_rows, stop, num_rows):
        if (offset := dataset.id.get_chunk_info_by_coord((row,)).byte_offset) is not None:
            begin, end = max(first, row), min(stop, row + num_rows)
            yield offset + size * (begin - row), size * (end - begin)


@lru_cache(maxsize=16)
def _require_all_end(path: str, num_bytes: int, mtime_ns: int) -> None:
    with open(path, "rb") as file:
        for at, block in stored_blocks(file.fileno(), num_bytes, overlap=len(_MAGIC) - 1):
            for found in re.finditer(_MAGIC, block):
                _require_end(file.fileno(), at + found.start())


def _require_end(file: int, address: int) -> None:
    """Step through a heap as HDF5 does; errors that HDF5 itself detects are left to it."""
    header = os.pread(file, _HEAP.size, address) if address < 1 << 62 else b""
    if len(header) < _HEAP.size or not header.startswith(_MAGIC):
        return
    size, at = _HEAP.unpack(header)[1], _HEAP.size
    while at + _OBJECT.size <= size:
        found = os.pread(file, _OBJECT.size, address + at)
        if len(found) < _OBJECT.size:
            return
        index, num_bytes = _OBJECT.unpack(found)
        step = num_bytes if index == _FREE else _OBJECT.size + (num_bytes + 7) // 8 * 8
        if not step:
            raise OSError(f"{UNWRITTEN} at byte {address}")
        at += step
