"""HDF5 files of demonstrations in the robomimic layout (`data/demo_0`, `data/demo_1`, ...), with errors that say where.

Opens, lists and reads; the source interprets the values.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np

from vita_data.errors import EpisodeError, SourceError, raise_machine_fault
from vita_data.formats.hdf5.heap import UNWRITTEN
from vita_data.formats.hdf5.inside import open_inside, read_attribute, require_readable_at_once
from vita_data.formats.hdf5.rows import DAMAGE, DatasetRows, open_read_only
from vita_data.formats.json_text import parse_json
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.types import Float64, Int64, Json, ResizeMode, RgbFrame

_DEMO = re.compile(r"demo_(\d{1,18})")
"""Python refuses to read numbers of thousands of digits, which a stranger may use as a name."""


@contextmanager
def open_hdf5(path: str | BinaryIO, *, name: str) -> Iterator[h5py.File]:
    """Open a file for reading, for a `with` block.

    Args:
        path: a path, or a seekable file (`RawTree.open`).
        name: the path relative to the raw tree, for messages.

    Raises:
        SourceError: the file is missing, truncated or not HDF5, or the block found damage in it.
        StorageError: the file may not be read, or the machine is to blame.
    """
    try:
        file = open_read_only(path)
    except OSError as error:
        raise_machine_fault(error, name)
        raise SourceError(f"{name}: cannot be opened {_why_not_opened(path, name, str(error))}") from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError) as error:  # h5py raises these for an error of HDF5
            raise_machine_fault(error, name)
            what = unreadable(path, name=name, reason="the file is damaged", own={"hdf5"})
            raise SourceError(f"{name}: cannot be read {what}") from error


def _why_not_opened(path: str | BinaryIO, name: str, told: str) -> str:
    """Say why in our own words: the library's may have the absolute path, which must not reach a build's records."""
    if "already open for write" in told:
        advice = "close that program; if it ended before it closed the file, run `h5clear -s` on the file"
        return f"(another program has it open for writing); {advice}"
    reasons = {"truncated": "truncated", UNWRITTEN: "a part of it was never written (all zeros)"}
    reason = next((reason for words, reason in reasons.items() if words in told), "not a complete HDF5 file")
    return unreadable(path, name=name, reason=reason, own={"hdf5"})


def demo_names(file: h5py.File, *, name: str) -> list[str]:
    """List the entries `demo_<number>` of `data` by number; numbers may be missing (`demo_2`, `demo_10`).

    Other entries in `data` are ignored. An entry is listed by its name only, so that one with damaged content fails
    (`find_group`) instead of disappearing.

    Raises:
        SourceError: the group `data` is missing, damaged or has no demonstrations.
    """
    try:
        data = find_node(file, "data", name=name)
        keys: list[object] = list(data if isinstance(data, h5py.Group) else file)
    except EpisodeError as error:
        raise SourceError(str(error)) from error
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise SourceError(f"{name}: its groups cannot be listed; the file is damaged, fetch it again") from error
    if not isinstance(data, h5py.Group):
        advice = "the file is damaged, fetch it again" if "data" in keys else f"found {keys[:5]}"
        raise SourceError(f"{name}: expected a readable group 'data'; {advice}")
    names = [key for key in keys if isinstance(key, str)]
    if len(names) < len(keys):
        raise SourceError(f"{name}: a name under 'data' is not UTF-8; the file is damaged, fetch it again")
    numbers = {key: int(match[1]) for key in names if (match := _DEMO.fullmatch(key))}
    if not numbers:
        raise SourceError(f"{name}: expected demo_<number> in 'data'; found {names[:5]}")
    ordered = sorted(numbers, key=lambda key: (numbers[key], key))
    _refuse_twice(data, ordered, name=name)
    return ordered


def _refuse_twice(data: h5py.Group, names: Sequence[str], *, name: str) -> None:
    """Refuse names that lead to one group, without opening it: a small file could be stored thousands of times.

    Raises:
        SourceError: two names are links to the same place.
    """
    seen: dict[object, str] = {}
    for key in names:
        try:
            link = data.id.links.get_info(key.encode())
            is_soft = link.type == h5py.h5l.TYPE_SOFT
            place = posixpath.join("/data", data.id.links.get_val(key.encode()).decode()) if is_soft else link.u
        except DAMAGE:
            continue  # opening it tells
        place = posixpath.normpath(place) if isinstance(place, str) else place
        if link.type != h5py.h5l.TYPE_EXTERNAL and (other := seen.setdefault(place, key)) != key:
            raise SourceError(f"{name}: {key} and {other} in 'data' are the same group; the file is damaged")


def find_node(group: h5py.Group, key: str, *, name: str) -> object:
    """Open the object with a key; None if it is missing or cannot be opened.

    `Group.get` would also return None for faults of the machine.

    Raises:
        EpisodeError: it lies in another file, or declares more than it stores.
        StorageError: the machine is to blame.
    """
    try:
        return open_inside(group, key, name=name)
    except KeyError as error:
        raise_machine_fault(error, name)
        return None


def find_group(file: h5py.File, key: str, *, name: str) -> h5py.Group:
    """Find a group, such as `data/demo_0`.

    Raises:
        EpisodeError: the key is missing, damaged or not a group.
    """
    try:
        found = find_node(file, key, name=name)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: {key} cannot be opened; the file is damaged, fetch it again") from error
    if not isinstance(found, h5py.Group):
        raise EpisodeError(f"{name}: expected a readable group {key}; the file is damaged, fetch it again")
    return found


def find_dataset(group: h5py.Group, key: str, *, name: str) -> h5py.Dataset:
    """Find a dataset without reading it.

    Raises:
        EpisodeError: the key is missing or not a dataset, or its type or shape cannot be read.
    """
    path = f"{(group.name or '').rstrip('/')}/{key}"
    try:
        found = find_node(group, key, name=name)
        if isinstance(found, h5py.Dataset) and found.dtype is not None and found.shape is not None:
            return found
        siblings = list(group)[:8]
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: {path} cannot be opened; the file is damaged") from error
    raise EpisodeError(f"{name}: expected a readable dataset {path}; found {siblings}")


def read_floats(group: h5py.Group, key: str, *, width: int, name: str) -> Float64:
    """Read a whole numeric dataset [T, width] at once; one of single values may be [T].

    Raises:
        EpisodeError: the dataset is missing, unreadable or has another shape.
    """
    found = find_dataset(group, key, name=name)
    if found.shape[1:] != (width,) and not (width == 1 and found.ndim == 1):
        raise EpisodeError(f"{name}: {found.name} has shape {found.shape}, expected [T, {width}]")
    require_readable_at_once(found, name=name)
    try:
        return np.asarray(found[()], np.float64).reshape(-1, width)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: {found.name} cannot be read; the file is damaged") from error


def text_attribute(node: h5py.Group, key: str, *, name: str) -> str | None:
    """Read an attribute that is a text; None if the attribute is missing.

    Raises:
        EpisodeError: the attribute is not a text, or the attributes are damaged.
    """
    try:
        found: Any = read_attribute(node, key)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: the attributes of {node.name} cannot be read; the file is damaged") from error
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    if found is not None and not isinstance(found, str):
        raise EpisodeError(f"{name}: attribute {key!r} of {node.name} is {type(found).__name__}, expected a text")
    return found


def json_attribute(node: h5py.Group, key: str, *, name: str) -> Json | None:
    """Parse an attribute that contains a JSON object; None if the attribute is missing.

    Raises:
        SourceError: the attribute is not a JSON object, or the attributes are damaged.
    """
    try:
        text: Any = read_attribute(node, key)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise SourceError(f"{name}: the attributes of {node.name} cannot be read; the file is damaged") from error
    if text is None:
        return None
    try:
        value = parse_json(text)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{name}: attribute {key!r} of {node.name} is not JSON") from error
    if not isinstance(value, dict):
        raise SourceError(f"{name}: attribute {key!r} of {node.name} is not a JSON object but {type(value).__name__}")
    return value


class DatasetStream:
    """A dataset of images uint8 [N, h, w, 3] RGB as a `CameraStream`, read lazily in blocks.

    It opens the file again to read, so it does not depend on the file handle that found it.
    """

    def __init__(self, images: h5py.Dataset, *, rows: Int64, strides: tuple[int, int] = (1, 1), name: str) -> None:
        """Use image `rows[t]` (ascending) as row t; a stride of -1 flips the image's rows or columns.

        Raises:
            EpisodeError: the dataset does not contain RGB images.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise EpisodeError(f"{name}: {images.name} is {images.dtype} {images.shape}, expected uint8 [T, h, w, 3]")
        self._images, self._rows, self._strides = DatasetRows(images, name=name), rows, strides

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return len(self._rows)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[RgbFrame]:
        """Yield the images of `rows` at their stored size, flipped as requested; `resize` is left to the caller.

        Raises:
            EpisodeError: the images cannot be read.
        """
        for image in self._images.read(self._rows[list(rows)].tolist()):
            yield RgbFrame(np.ascontiguousarray(image[:: self._strides[0], :: self._strides[1]]))
