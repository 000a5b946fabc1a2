"""TFRecord files: length-framed records with masked CRC-32C checksums, read one at a time.

Does not interpret the records. The framing is TensorFlow's (tensorflow/core/lib/io/record_writer.h):
uint64 length, uint32 masked crc of the length, the data, uint32 masked crc of the data, all little-endian.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from vita_data.errors import EpisodeError, SourceError, raise_machine_fault
from vita_data.formats.limits import MAX_RECORD_BYTES
from vita_data.formats.raw_tree.file_head import look, unreadable

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_READ_BYTES = 64 << 20
"""Bytes read at once, so that a damaged length needs no more memory than the file's size."""


def masked_crc32c(data: bytes) -> int:
    """Compute the checksum that TFRecord stores: CRC-32C rotated right by 15 bits, plus a constant."""
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def read_records(path: str, *, name: str) -> Iterator[bytes]:
    """Yield the records of the file at `path`; see `stream_records`.

    Raises:
        SourceError: as in `stream_records`, or the data of a record do not match their checksum.
    """

    def open_file() -> BinaryIO:
        return open(path, "rb")

    for record in stream_records(open_file, name=name):
        if isinstance(record, EpisodeError):
            raise SourceError(str(record))
        yield record


def stream_records(open_file: Callable[[], BinaryIO], *, name: str) -> Iterator[bytes | EpisodeError]:
    """Yield the records of a file in order, with one in memory at a time.

    If the data of a record do not match their checksum, the error is yielded in its place: the record's length is
    right, so the following records are intact.

    Args:
        open_file: opens the file; called when the first record is requested.
        name: the file's name in messages.

    Raises:
        SourceError: the file cannot be opened, ends inside a record, or the checksum of a length does not match; names
            file and record. Earlier records have been yielded.
    """
    try:
        with open_file() as file:
            index = 0
            while (record := _next_record(file, index, name)) is not None:
                yield record
                index += 1
    except OSError as error:
        raise_machine_fault(error, name)
        what = unreadable(open_file, name=name, reason=str(error.strerror))
        raise SourceError(f"{name}: cannot be read {what}") from error


def _next_record(file: BinaryIO, index: int, name: str) -> bytes | EpisodeError | None:
    try:
        return _read_record(file, f"{name} record {index}")
    except SourceError as error:
        # A file that is not a TFRecord file fails at its first record; later checksum errors are damage.
        if index or (found := look(file, name=name)) is None:
            raise
        raise SourceError(f"{name}: cannot be read ({found.what}); {found.advice}") from error


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write `records` to a new file at `path`."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _FOOTER.pack(masked_crc32c(length)))
            file.write(record + _FOOTER.pack(masked_crc32c(record)))


def _read_record(file: BinaryIO, where: str) -> bytes | EpisodeError | None:
    header = file.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise _truncated(where, expected=_HEADER.size, found=len(header), what="header")
    length, length_crc = _HEADER.unpack(header)
    # Check the length before using it: a flipped bit must not become a request for exabytes.
    if fault := _crc_fault(header[:8], length_crc, f"{where}: length"):
        raise SourceError(fault)
    if length > _READ_BYTES:
        _require_possible(file, length, where)
    data = _read_up_to(file, length)
    footer = file.read(_FOOTER.size)
    if len(data) + len(footer) < length + _FOOTER.size:
        raise _truncated(where, expected=length + _FOOTER.size, found=len(data) + len(footer), what="data")
    fault = _crc_fault(data, _FOOTER.unpack(footer)[0], f"{where}: data")
    return EpisodeError(fault) if fault else data


def _require_possible(file: BinaryIO, length: int, where: str) -> None:
    at, stop = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(at)
    if stop - at < length + _FOOTER.size:
        raise _truncated(where, expected=length + _FOOTER.size, found=stop - at, what="data")
    if length > MAX_RECORD_BYTES:
        raise SourceError(f"{where}: declares {length} bytes, expected at most {MAX_RECORD_BYTES}; fetch it again")


def _read_up_to(file: BinaryIO, num_bytes: int) -> bytes:
    data = file.read(min(num_bytes, _READ_BYTES))
    if len(data) == num_bytes or not data:
        return data
    chunks, num_left = [data], num_bytes - len(data)
    while num_left and (chunk := file.read(min(num_left, _READ_BYTES))):
        chunks.append(chunk)
        num_left -= len(chunk)
    return b"".join(chunks)


def _crc_fault(data: bytes, stored: int, where: str) -> str:
    found = masked_crc32c(data)
    if found == stored:
        return ""
    return f"{where} is damaged: its crc is {found:#010x}, expected {stored:#010x}; fetch the file again"


def _truncated(where: str, *, expected: int, found: int, what: str) -> SourceError:
    return SourceError(f"{where}: truncated, {what} has {found} of {expected} bytes; fetch the file again")
