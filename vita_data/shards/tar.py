"""USTAR bytes: constant headers, and iteration over the members of a finished tar.

Headers are patched from one template instead of built by `tarfile`, since a shard has tens of thousands of members.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from isal.isal_zlib import crc32

from vita_data.errors import ShardError
from vita_data.shards.schema import MemberRef
from vita_data.storage.files import AnyPath

MAX_MEMBER_BYTES = 1 << 28
"""Most bytes of a member; the vectors of ten minutes at 1,000 rows a second have 96 MB."""
_BLOCK = 512
END = bytes(2 * _BLOCK)


def _template() -> bytes:
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


_TEMPLATE = _template()
_BLANK = _TEMPLATE[:124] + bytes(12) + _TEMPLATE[136:148] + b" " * 8 + _TEMPLATE[156:]
_BLANK_SUM = sum(_BLANK)


def header(name: str, size: int) -> bytes:
    """Make a 512-byte USTAR header with fixed mode, owner and time.

    Raises:
        ValueError: the name is longer than the 100 bytes of a plain USTAR name, or the member larger than 8 GiB.
    """
    encoded, octal = name.encode(), b"%011o\x00" % size
    if len(encoded) > 100 or len(octal) > 12:
        raise ValueError(f"tar member {name!r} of {size} bytes does not fit a USTAR header")
    checksum = b"%06o\x00 " % (_BLANK_SUM + sum(encoded) + sum(octal))
    return encoded.ljust(100, b"\x00") + _BLANK[100:124] + octal + _BLANK[136:148] + checksum + _BLANK[156:]


def padding(size: int) -> bytes:
    """Return the zeros after a member of `size` bytes."""
    return bytes(-size % _BLOCK)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member as found in a tar: its full name, its offset, its bytes."""

    name: str
    ref: MemberRef
    data: bytes


def walk(path: AnyPath) -> Iterator[TarMember]:
    """Read a tar from start to end.

    Raises:
        ShardError: a header is damaged, or the file ends early; names the shard and the offset.
    """
    with path.open("rb") as file:
        while (block := file.read(_BLOCK)) != END[:_BLOCK]:
            yield _member(path, file, block)
        if file.read(_BLOCK + 1) != END[_BLOCK:]:
            raise ShardError(f"shard {path}: unexpected bytes after the end of the tar")


def _member(path: AnyPath, file: BinaryIO, block: bytes) -> TarMember:
    offset = file.tell()
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ShardError(f"shard {path}: damaged tar header at byte {offset - len(block)} ({error})") from error
    if header(info.name, info.size) != block:
        raise ShardError(
            f"shard {path}: member {info.name}: header at byte {offset - len(block)} differs from the written one"
        )
    if info.size > MAX_MEMBER_BYTES:
        raise ShardError(f"shard {path}: member {info.name}: {info.size} bytes, expected at most {MAX_MEMBER_BYTES}")
    data, pad = file.read(info.size), file.read(-info.size % _BLOCK)
    if len(data) != info.size or any(pad) or len(pad) != -info.size % _BLOCK:
        raise ShardError(f"shard {path}: member {info.name}: the file ends early or its padding is damaged")
    return TarMember(info.name, MemberRef(offset, info.size, crc32(data)), data)
