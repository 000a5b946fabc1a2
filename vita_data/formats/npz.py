"""Numpy files on disk: single members of `.npz` archives, and `.npy` files that contain a pickled plain value.

Other members are neither read nor decompressed. The source interprets the members.
"""

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vita_data.errors import EpisodeError, SourceError, raise_machine_fault
from vita_data.formats.limits import MAX_ARRAY_BYTES, MAX_TEXT_FILE_BYTES
from vita_data.formats.plain_pickle import load_plain
from vita_data.formats.raw_tree.disk import leads_nowhere
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.formats.raw_tree.regular import require_regular
from vita_data.types import Float32, Float64, ResizeMode, RgbFrame

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
)


def read_members(path: str, keys: Sequence[str], *, name: str) -> tuple[NDArray[Any], ...]:
    """Read the members `keys` of an `.npz` archive in that order; each is checked against its checksum.

    Args:
        path: the file on disk.
        keys: names of arrays, without `.npy`.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: the file is missing or damaged, or lacks a member.
    """
    key = ""
    try:
        with zipfile.ZipFile(path) as archive:
            found = []
            for key in keys:
                found.append(parse_npy(_member(archive, f"{key}.npy")))
    except KeyError:
        raise EpisodeError(f"{name}: array {key!r} not found in it") from None
    except _DAMAGED as error:
        raise_machine_fault(error, name)
        if key:
            what = f"its array {key!r} cannot be read; the file is damaged, fetch it again"
        elif isinstance(error, FileNotFoundError) and not leads_nowhere(path):
            what = "the file does not exist; fetch the missing part of the download"
        else:
            what = f"it cannot be read {unreadable(path, name=name, reason='damaged', own={'zip'})}"
        raise EpisodeError(f"{name}: {what}") from error
    return tuple(found)


def parse_npy(data: bytes) -> NDArray[Any]:
    """Convert the content of a `.npy` file to an array, after comparing its declared size with the bytes there are.

    Raises:
        ValueError: it is damaged, contains Python objects, or has another size than it declares.
    """
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("expected numbers, got Python objects")
    declared, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if min(shape, default=0) < 0 or declared > there or not dtype.itemsize:
        raise ValueError(f"declares {declared} bytes, contains {there}")
    array = np.frombuffer(data, dtype, math.prod(shape), file.tell()).reshape(shape, order="F" if is_fortran else "C")
    return array.copy(order="K")


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member, checked against its checksum.

    Raises:
        KeyError: it is missing.
        ValueError: it is larger than any known array, or compressed in a way that numpy does not use.
    """
    info = archive.getinfo(name)
    if info.file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"declares {info.file_size} bytes, expected at most {MAX_ARRAY_BYTES}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compressed by method {info.compress_type}, which numpy does not use")
    with archive.open(info) as member:
        # a read without a size would decompress everything, whatever the declared size is
        return member.read(info.file_size + 1)


def read_npy(path: str, *, name: str) -> NDArray[Any]:
    """Read a numeric array.

    Raises:
        SourceError: the file is missing or damaged, or contains Python objects.
    """
    try:
        return parse_npy(_in_memory(path).getvalue())
    except _DAMAGED as error:
        raise_machine_fault(error, name)
        what = unreadable(path, name=name, reason=_short(error), own={"npy"})
        raise SourceError(f"{name}: cannot be read as an array of numbers {what}") from error


def read_pickled(path: str, *, name: str) -> object:
    """Read the value that `numpy.save` pickled into an array without dimensions, such as a dict; see `plain_pickle`.

    Raises:
        SourceError: the file is missing, damaged, has another form, or contains more than plain values and arrays.
    """
    try:
        file = _in_memory(path)
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype != np.dtype(object) or shape != ():
            raise SourceError(f"{name}: expected one pickled value, found an array {dtype} {shape}")
        value = load_plain(file)
    except _DAMAGED as error:
        raise_machine_fault(error, name)
        what = unreadable(path, name=name, reason=_short(error), own={"npy"})
        raise SourceError(f"{name}: cannot be read {what}") from error
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def has_member(path: str, key: str) -> bool:
    """Tell whether an archive lists a member; True for an unreadable archive, so that reading it reports the reason."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{key}.npy" in archive.namelist()
    except _DAMAGED:
        return True


class NpzSequence:
    """Archives with one time step each; the last reads are cached, so that overlapping clips share them."""

    def __init__(self, path_of: Callable[[int], tuple[str, str]], *, num_kept: int) -> None:
        """Read step i from `path_of(i)`: its path on disk and its name for messages; cache `num_kept` reads."""
        self._path_of = path_of
        self._kept = lru_cache(maxsize=num_kept)(self._read)

    def vectors(self, frames: Sequence[int], widths: Sequence[tuple[str, int]]) -> tuple[Float64, ...]:
        """Read vectors (key, width) of ascending `frames`, each as float64 [T, width], for any stored float type.

        Raises:
            EpisodeError: a file is missing or damaged, or a vector has another shape or type.
        """
        keys = tuple(key for key, _ in widths)
        steps = [self._kept(frame, keys) for frame in frames]
        for frame, step in zip(frames, steps, strict=True):
            for (key, width), value in zip(widths, step, strict=True):
                if value.shape != (width,) or value.dtype.kind != "f":
                    self._refuse(frame, key, value, expected=f"floats [{width}]")
        return tuple(np.array([step[n] for step in steps], np.float64) for n in range(len(keys)))

    def has(self, frame: int, key: str) -> bool:
        """Tell whether a step has a member; True if its file cannot be opened."""
        return has_member(self._path_of(frame)[0], key)

    def image(self, frame: int, key: str, *, dtype: type[np.generic], ndim: int) -> NDArray[Any]:
        """Read one image of one step.

        Raises:
            EpisodeError: its file is missing or damaged, or the image has another type or number of dimensions.
        """
        (value,) = self._kept(frame, (key,))
        if value.dtype != dtype or value.ndim != ndim or (ndim == 3 and value.shape[2] != 3):
            self._refuse(frame, key, value, expected=f"a {np.dtype(dtype)} image of {ndim} dimensions")
        return value

    def _read(self, frame: int, keys: tuple[str, ...]) -> tuple[NDArray[Any], ...]:
        path, name = self._path_of(frame)
        return read_members(path, keys, name=name)

    def _refuse(self, frame: int, key: str, value: NDArray[Any], *, expected: str) -> None:
        raise EpisodeError(f"{self._path_of(frame)[1]}: {key!r} is {value.dtype} {value.shape}, expected {expected}")


class NpzImages:
    """The images `key` of consecutive steps as a `CameraStream`."""

    def __init__(self, steps: NpzSequence, *, frames: Sequence[int], key: str) -> None:
        self._steps, self._frames, self._key = steps, frames, key

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return len(self._frames)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[RgbFrame]:
        """Yield the images of `rows` at their stored size; `resize` is left to the caller.

        Raises:
            EpisodeError: a file cannot be read or lacks the image.
        """
        for row in rows:
            yield RgbFrame(self._steps.image(self._frames[row], self._key, dtype=np.uint8, ndim=3))


class NpzDepths:
    """The depth images `key` of consecutive steps as a `DepthStream`."""

    def __init__(self, steps: NpzSequence, *, frames: Sequence[int], key: str) -> None:
        self._steps, self._frames, self._key = steps, frames, key

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        """Yield the depth images float32 [h, w] of `rows` as stored.

        Raises:
            EpisodeError: a file cannot be read or lacks the image.
        """
        for row in rows:
            yield self._steps.image(self._frames[row], self._key, dtype=np.float32, ndim=2)


def _in_memory(path: str) -> BytesIO:
    require_regular(path, name=os.path.basename(path), max_bytes=MAX_TEXT_FILE_BYTES)
    # numpy would retry forever on a disk that returns EAGAIN
    with open(path, "rb") as file:
        return BytesIO(file.read())


def _short(error: Exception) -> str:
    return "the file does not exist" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:120]
