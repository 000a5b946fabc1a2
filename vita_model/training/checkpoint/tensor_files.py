"""safetensors files, written tensor by tensor, so that the host needs no second copy of what it writes.

The library's own writer first turns all tensors into bytes. Reading uses the library.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vita_data.storage.files import sync

DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Number formats by their names in safetensors headers."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 8
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A tensor as the header of a file describes it."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """The size of its values."""
        return int(np.prod(self.sizes, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Bytes in a file."""

    path: Path
    begin: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file and where its tensors are."""

    sha256: str
    places: Mapping[str, Place]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Written:
    """Write tensors of the CPU and notes durably to a new safetensors file."""
    shapes = {name: Shape(dtype=value.dtype, sizes=tuple(value.shape)) for name, value in tensors.items()}
    with _Writer(path, shapes, notes) as file:
        for name in file.order:
            file.add(_bytes_of(tensors[name]))
    return Written(sha256=file.sha256, places=file.places)


def join_parts(path: Path, shapes: Mapping[str, Shape], parts: Mapping[str, Sequence[Place]]) -> str:
    """Write a safetensors file, durably, from the bytes of its tensors in other files; returns its sha256.

    Each tensor's parts are consecutive rows, in order.
    """
    with ExitStack() as stack, _Writer(path, shapes, {"format": "pt"}) as file:
        opened: dict[Path, IO[bytes]] = {}
        for part in (part for name in file.order for part in parts[name]):
            if part.path not in opened:
                opened[part.path] = stack.enter_context(part.path.open("rb"))
            for block in _blocks(opened[part.path], part):
                file.add(block)
    return file.sha256


class _Writer:
    """An open safetensors file: the header first, then the tensors' bytes in `order`."""

    def __init__(self, path: Path, shapes: Mapping[str, Shape], notes: Mapping[str, str]) -> None:
        # Large numbers come first, so that each tensor is aligned.
        self.order = sorted(shapes, key=lambda name: (-shapes[name].dtype.itemsize, name))
        header, self.places = _header(path, {name: shapes[name] for name in self.order}, notes)
        self._path, self._digest = path, hashlib.sha256()
        self._size = len(header) + sum(shape.num_bytes for shape in shapes.values())
        self._file = path.open("xb")
        self.add(header)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, data: Any) -> None:
        self._file.write(data)
        self._digest.update(data)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        written = self._file.tell()
        self._file.close()
        if kind is None:
            if written != self._size:
                raise ValueError(f"{self._path}: expected {self._size} bytes, wrote {written}")
            sync(self._path)


def _header(path: Path, shapes: Mapping[str, Shape], notes: Mapping[str, str]) -> tuple[bytes, dict[str, Place]]:
    fields: dict[str, object] = {"__metadata__": dict(notes)} if notes else {}
    begin = 0
    for name, shape in shapes.items():
        end = begin + shape.num_bytes
        fields[name] = {"dtype": _NAMES[shape.dtype], "shape": list(shape.sizes), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    start = _ALIGNMENT + len(text)
    places = {}
    for name, shape in shapes.items():
        places[name] = Place(path=path, begin=start, num_bytes=shape.num_bytes)
        start += shape.num_bytes
    return len(text).to_bytes(_ALIGNMENT, "little") + text, places


def _bytes_of(value: Tensor) -> memoryview:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _blocks(file: IO[bytes], place: Place) -> Iterator[bytes]:
    file.seek(place.begin)
    left = place.num_bytes
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise ValueError(f"{place.path} ends {left} bytes too early")
        left -= len(block)
        yield block
