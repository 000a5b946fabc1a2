"""Rules that make a hostile or damaged file of a good one; each rule writes the file anew and keeps its name."""

import io
import json
import os
import pickle
import random
import socket
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vita_data.formats.rlds.array_record import stream_array_records, write_array_records
from vita_data.formats.rlds.tfrecord import masked_crc32c

Rule = Callable[[Path, random.Random], None]
SECTOR = 512
_SIDE = 60_000
_MUCH = 1 << 40
_PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", _SIDE, _SIDE, 8, 2, 0, 0, 0) + bytes(64)


def put(path: Path, data: bytes) -> None:
    """Replace a file; its other names, which are those of the good tree, keep their content."""
    path.unlink()
    path.write_bytes(data)


def _cut(share: float) -> Rule:
    def cut(path: Path, drawn: random.Random) -> None:
        data = path.read_bytes()
        put(path, data[: min(int(len(data) * share), max(len(data) - 1, 0))])

    return cut


def _blocks(size: int, count: int, fill: Callable[[random.Random, int], bytes]) -> Rule:
    def write(path: Path, drawn: random.Random) -> None:
        data = bytearray(path.read_bytes())
        for _ in range(count):
            at = drawn.randrange(max(len(data) // size, 1)) * size
            piece = data[at : at + size]
            data[at : at + size] = fill(drawn, len(piece))
        put(path, bytes(data))

    return write


def _zeros(drawn: random.Random, size: int) -> bytes:
    return bytes(size)


def _ones(drawn: random.Random, size: int) -> bytes:
    return b"\xff" * size


def _noise(drawn: random.Random, size: int) -> bytes:
    return drawn.randbytes(size)


def _whole(data: bytes) -> Rule:
    return lambda path, drawn: put(path, data)


def _in_place(make: Callable[[Path], object]) -> Rule:
    def write(path: Path, drawn: random.Random) -> None:
        path.unlink()
        make(path)

    return write


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_MUCH)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name[:100])
    finally:
        os.chdir(here)


ANY: Mapping[str, Rule] = {
    **{f"truncated to {share:.0%}": _cut(share) for share in (0, 0.001, 0.25, 0.5, 0.9, 1)},
    **{f"zeroed sector {number}": _blocks(SECTOR, 1, _zeros) for number in range(6)},
    **{f"zeroed pages {number}": _blocks(4096, 3, _zeros) for number in range(2)},
    **{f"sector of ones {number}": _blocks(SECTOR, 1, _ones) for number in range(1)},
    **{f"noise {number}": _blocks(64, 4, _noise) for number in range(3)},
    "a web page": _whole(b"<!DOCTYPE html><html><body>Sign in</body></html>" * 20),
    "a playlist": _whole(b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "a PNG of 60000 x 60000": _whole(_PNG),
    "a link to itself": _in_place(lambda path: path.symlink_to(path.name)),
    "a link to another file": _in_place(lambda path: path.symlink_to("/etc/passwd")),
    "a device": _in_place(lambda path: path.symlink_to("/dev/zero")),
    "a pipe": _in_place(os.mkfifo),
    "a socket": _in_place(_socket),
    "a folder": _in_place(Path.mkdir),
    "a sparse terabyte": _in_place(_sparse),
}


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in _leaves(inner, (*path, key))] or [path]


def _with_leaf(replacement: str) -> Rule:
    """Put JSON text in place of one value."""

    def write(path: Path, drawn: random.Random) -> None:
        value = json.loads(path.read_bytes())
        *above, last = drawn.choice(_leaves(value)) or (None,)
        place = value
        for key in above:
            place = place[key]
        with suppress(TypeError):
            place[last] = "@leaf@"
        put(path, json.dumps(value).replace('"@leaf@"', replacement).encode())

    return write


JSON: Mapping[str, Rule] = {
    **{f"null {number}": _with_leaf("null") for number in range(3)},
    **{f"a list {number}": _with_leaf("[[], {}]") for number in range(3)},
    **{f"a path upwards {number}": _with_leaf('"../../../../etc/passwd"') for number in range(2)},
    **{f"an absolute path {number}": _with_leaf('"/etc/passwd"') for number in range(2)},
    **{f"a wide format {number}": _with_leaf('"{episode_index:>999999999}"') for number in range(2)},
    **{f"a long number {number}": _with_leaf("9" * 5000) for number in range(2)},
    **{f"a great number {number}": _with_leaf("1e308") for number in range(2)},
    **{f"a negative number {number}": _with_leaf("-7") for number in range(2)},
    "not a number": _with_leaf("NaN"),
    "deep lists": _whole(b"[" * 200_000 + b"]" * 200_000),
    "deep objects": _whole(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "deep in a value": _with_leaf("[" * 5000 + "]" * 5000),
    "another kind": _whole(b"7"),
    "not UTF-8": _whole(b'{"\xff\xfe": "\xed\xa0\x80"}'),
    "half a surrogate": _with_leaf(r'"\ud800"'),
    "a terminal escape": _with_leaf(r'"\u001b[2J\u001b[31m"'),
}


def _hdf5(change: Callable[[h5py.File, str, Path], None]) -> Rule:
    """Change one dataset of an HDF5 file."""

    def write(path: Path, drawn: random.Random) -> None:
        put(path, path.read_bytes())
        names: list[str] = []
        with h5py.File(path, "r+") as file:
            file.visititems(lambda name, one: names.append(name) if isinstance(one, h5py.Dataset) else None)
            change(file, drawn.choice(sorted(names)), path)

    return write


def _external_link(file: h5py.File, name: str, path: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def _loop(file: h5py.File, name: str, path: Path) -> None:
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


def _cycle(file: h5py.File, name: str, path: Path) -> None:
    group = file[name].parent
    del file[name]
    group[name.rpartition("/")[2]] = file["/"]


def _external_storage(file: h5py.File, name: str, path: Path) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape=shape, dtype="f8", external=[("/etc/passwd", 0, 8 * int(np.prod(shape)))])


def _virtual(file: h5py.File, name: str, path: Path) -> None:
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape=shape, dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=shape)
    file.create_virtual_dataset(name, layout)


def _wide(file: h5py.File, name: str, path: Path) -> None:
    """Declare a thousand million rows of which none is stored."""
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape=(10**9, *shape[1:]), dtype=kind, chunks=(1, *shape[1:]))


def _expanding(file: h5py.File, name: str, path: Path) -> None:
    """Declare a chunk that is small in the file and a gigabyte in memory."""
    shape = file[name].shape
    del file[name]
    made = file.create_dataset(name, shape=(1 << 30,), dtype="u1", chunks=(1 << 30,), compression="gzip")
    made.id.write_direct_chunk((0,), b"\x78\x9c" + bytes(1 << 12))
    made.attrs["was"] = str(shape)


def _group(file: h5py.File, name: str, path: Path) -> None:
    del file[name]
    file.create_group(name)


def _typed(kind: str) -> Callable[[h5py.File, str, Path], None]:
    def change(file: h5py.File, name: str, path: Path) -> None:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, data=np.zeros(shape, kind))

    return change


def _texts(file: h5py.File, name: str, path: Path) -> None:
    size = len(file[name]) if file[name].shape else 1
    del file[name]
    file.create_dataset(name, data=["\x1b[2J"] * size)


def _huge_images(file: h5py.File, name: str, path: Path) -> None:
    size = len(file[name]) if file[name].shape else 1
    del file[name]
    made = file.create_dataset(name, (size,), dtype=h5py.vlen_dtype(np.uint8))
    for row in range(size):
        made[row] = np.frombuffer(_PNG, np.uint8)


def _not_numbers(file: h5py.File, name: str, path: Path) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, data=np.full(shape, np.nan))


def _great_numbers(file: h5py.File, name: str, path: Path) -> None:
    """Put in numbers that are finite, but not as float32."""
    shape, kind = file[name].shape, file[name].dtype.kind
    if kind == "f":
        del file[name]
        file.create_dataset(name, data=np.full(shape, 1e308))


def _long_name(file: h5py.File, name: str, path: Path) -> None:
    file[name].parent.parent.create_group("demo_" + "9" * 5000)


_CHANGES = {
    "an external link": _external_link,
    "a link to itself in the file": _loop,
    "a group inside itself": _cycle,
    "storage in another file": _external_storage,
    "a view of another file": _virtual,
    "a thousand million rows": _wide,
    "a chunk of a gigabyte": _expanding,
    "a group for an array": _group,
    "complex numbers": _typed("c16"),
    "times": _typed("i8"),
    "records": _typed("i4,f8"),
    "texts": _texts,
    "images of 60000 x 60000": _huge_images,
    "values that are not numbers": _not_numbers,
}
HDF5: Mapping[str, Rule] = {
    **{f"{name} {number}": _hdf5(change) for name, change in _CHANGES.items() for number in range(2)},
    **{f"numbers too large for float32 {number}": _hdf5(_great_numbers) for number in range(6)},
    "a name of 5000 digits": _hdf5(_long_name),
}


def _record(length: int, data: bytes = b"") -> bytes:
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _first_length(length: int) -> Rule:
    """Declare another length of the first record, with the sum that fits it."""

    def write(path: Path, drawn: random.Random) -> None:
        put(path, _record(length)[:12] + path.read_bytes()[12:])

    return write


def _message(data: bytes) -> Rule:
    """Put a whole record with another message first."""

    def write(path: Path, drawn: random.Random) -> None:
        old = path.read_bytes()
        (length,) = struct.unpack("<Q", old[:8])
        put(path, _record(len(data), data) + old[16 + length :])

    return write


_MESSAGES = {
    "an empty message": b"",
    "a field of 2^60 bytes": b"\x0a" + _varint(1 << 60) + b"abc",
    "a number without end": b"\x08" + b"\xff" * 4000,
    "nested messages": b"\x0a\x7f" * 5000,
    "a million fields": b"\x0a\x00" * 3_000_000,
    "noise": random.Random(7).randbytes(5000),
}
TFRECORD: Mapping[str, Rule] = {
    **{
        f"a record of {length}": _first_length(length)
        for length in (0, 1, 1 << 20, 1 << 31, 1 << 40, 1 << 62, 2**64 - 1)
    },
    **{name: _message(data) for name, data in _MESSAGES.items()},
}


def _array_record(data: bytes) -> Rule:
    """Write a whole file of one other record and copies of the first good one, with the sums that fit them."""

    def write(path: Path, drawn: random.Random) -> None:
        good = next(stream_array_records(lambda: str(path), name=path.name))
        assert isinstance(good, bytes)
        path.unlink()
        write_array_records(path, [data, good, good])

    return write


def _last_bytes(data: bytes) -> Rule:
    """Put other bytes at the end, where the place of the index is."""
    return lambda path, drawn: put(path, path.read_bytes()[: -len(data)] + data)


ARRAY_RECORD: Mapping[str, Rule] = {
    **{name: _array_record(data) for name, data in _MESSAGES.items()},
    "a record of 600 MB": _array_record(bytes(600_000_000)),
    **{f"an index at {place}": _last_bytes(struct.pack("<Q", place)) for place in (0, 1, 1 << 40, 2**64 - 1)},
    "two files in one": lambda path, drawn: put(path, path.read_bytes() * 2),
}


def _npy(shape: tuple[int, ...], kind: str = "<f8", data: bytes = b"") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


class Call:
    """What a pickle must not be able to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/vita-was-here",)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _member(data: bytes) -> Rule:
    """Put another array in place of one of an archive."""

    def write(path: Path, drawn: random.Random) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[drawn.choice(sorted(members))] = data
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, one in members.items():
                archive.writestr(name, one)
        put(path, buffer.getvalue())

    return write


_ARRAYS = {
    "a shape of 2^50": _npy((1 << 50,)),
    "a shape of 2^31 rows": _npy((1 << 31, 7)),
    "a negative shape": _npy((-1, 7)),
    "300 MB of zeros": _npy((300 << 20,), "|u1", bytes(300 << 20)),
    "objects": _npy((1,), "|O", pickle.dumps([Call()])),
    "an unknown kind": _npy((3,), "|V9", bytes(27)),
    "a header that calls": b"\x93NUMPY\x01\x00" + struct.pack("<H", 30) + b"__import__('os').system('ls')\n",
    "a header of nested lists": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"(" * 60000,
}


def _great_members(path: Path, drawn: random.Random) -> None:
    """Put numbers that are finite, but not as float32, in place of all floats of an archive."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    great = {name: np.full(one.shape, 1e308) if one.dtype.kind == "f" else one for name, one in arrays.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **great)
    put(path, buffer.getvalue())


NPZ: Mapping[str, Rule] = {
    **{
        f"{name} {number}": _member(data)
        for name, data in _ARRAYS.items()
        for number in range(1 if len(data) > 1 << 20 else 3)
    },
    "numbers too large for float32": _great_members,
}
NPY: Mapping[str, Rule] = {
    **{name: _whole(data) for name, data in _ARRAYS.items()},
    "a pickle that calls": _whole(_npy((), "|O", pickle.dumps(Call()))),
    "a deep pickle": _whole(_npy((), "|O", b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".")),
    "a pickle of other values": _whole(_npy((), "|O", pickle.dumps({"language": _nested(50), "info": 1}))),
    "a pickle without end": _whole(_npy((), "|O", b"\x80\x04" + b"\x8e" + struct.pack("<Q", 1 << 62))),
}
RULES: Mapping[str, Mapping[str, Rule]] = {
    ".json": JSON,
    ".hdf5": HDF5,
    ".npz": NPZ,
    ".npy": NPY,
}


def rules_for(path: Path) -> Mapping[str, Rule]:
    """The rules for a file of this name."""
    for form, rules in {".tfrecord-": TFRECORD, ".array_record-": ARRAY_RECORD}.items():
        if form in path.name:
            return {**ANY, **rules}
    return {**ANY, **RULES.get(path.suffix, {})}
