"""Parses the wire format of `tf.train.Example`: a map from names to lists of bytes, float32 or int64.

Reads the protobuf encoding directly from memory, without TensorFlow or protobuf; features are decoded only on demand.
Knows nothing about shapes or meaning. Message layout: tensorflow/core/example/feature.proto.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vita_data.formats.limits import MAX_RECORD_FIELDS, MAX_VARINT_BYTES
from vita_data.types import Float32, Int64

FeatureValues = Float32 | Int64 | Sequence[bytes]

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


class ByteStrings(Sequence[bytes]):
    """The items of a bytes list; each is copied out of the record when it is accessed, and not cached."""

    def __init__(self, items: list[memoryview]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "ByteStrings": ...
    def __getitem__(self, index: int | slice) -> "bytes | ByteStrings":
        if isinstance(index, slice):
            return ByteStrings(self._items[index])
        return bytes(self._items[index])

    def __iter__(self) -> Iterator[bytes]:
        return map(bytes, self._items)


def index_example(data: bytes) -> dict[str, memoryview]:
    """Map the feature names of a serialized Example to their undecoded messages.

    Raises:
        ValueError: the bytes are not an Example.
    """
    features: dict[str, memoryview] = {}
    for _, message in _fields(memoryview(data)):
        for _, entry in _fields(message):
            parts = dict(_fields(entry))
            features[bytes(parts.get(1, b"")).decode()] = parts.get(2, memoryview(b""))
    return features


def decode_feature(message: memoryview) -> FeatureValues:
    """Decode one feature into float32 [N], int64 [N] or N byte strings; a feature without values is an empty list.

    Raises:
        ValueError: the bytes are not a Feature.
    """
    for kind, values in _fields(message):
        if kind == _BYTES_LIST:
            return ByteStrings([item for _, item in _fields(values)])
        # Packed and unpacked lists differ only in framing: when joined, their payloads are the same bytes.
        joined = b"".join(chunk for _, chunk in _fields(values))
        if kind == _FLOAT_LIST:
            return np.frombuffer(joined, "<f4")
        if kind == _INT64_LIST:
            return _decode_varints(np.frombuffer(joined, np.uint8))
        raise ValueError(f"unknown kind of feature {kind}")
    return []


def encode_example(values: Mapping[str, NDArray[np.generic] | Sequence[bytes]]) -> bytes:
    """Serialize flat lists as an Example: floating arrays as float32, bool and integer arrays as int64."""
    entries = [
        _delimited(1, _delimited(1, name.encode()) + _delimited(2, _encode_feature(values[name])))
        for name in sorted(values)
    ]
    return _delimited(1, b"".join(entries))


def _fields(message: memoryview) -> list[tuple[int, memoryview]]:
    fields = []
    at, end = 0, len(message)
    while at < end:
        tag, start = message[at], at + 1
        if tag & 0x87 == _DELIMITED and start < end:  # a low field number: all fields of an Example
            size, start = message[start], start + 1
            if size >= 0x80:
                size, start = _varint(message, start - 1)
        else:
            tag, start = _varint(message, at)
            start, size = _payload(message, start, tag & 7)
        at = start + size
        if at > end:
            raise ValueError(f"a field of {size} bytes at byte {start} exceeds its message of {end} bytes")
        fields.append((tag >> 3, message[start:at]))
        if len(fields) > MAX_RECORD_FIELDS:
            raise ValueError(f"more than {MAX_RECORD_FIELDS} fields in one message")
    return fields


def _payload(message: memoryview, at: int, wire: int) -> tuple[int, int]:
    """Find where a field's content starts and how many bytes it has."""
    if wire == _DELIMITED:
        size, start = _varint(message, at)
        return start, size
    if wire == _VARINT:
        return at, _varint(message, at)[1] - at
    if wire in (_FIXED32, _FIXED64):
        return at, 4 if wire == _FIXED32 else 8
    raise ValueError(f"unknown wire type {wire} at byte {at}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[at : at + 10]:
        at += 1
        if byte < 0x80:
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
        shift += 7
    if shift < 70:
        raise ValueError("a number continues past the end of its message")
    raise ValueError(f"a number of more than 10 bytes before byte {at}")


def _decode_varints(raw: NDArray[np.uint8]) -> Int64:
    ends = np.flatnonzero(raw < 0x80)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        raise ValueError("a number continues past the end of its list")
    if len(ends) == len(raw):
        return raw.astype(np.int64)
    if len(raw) > MAX_VARINT_BYTES:
        raise ValueError(f"a list of integers of {len(raw)} bytes, expected at most {MAX_VARINT_BYTES}")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(raw)) - np.repeat(starts, np.diff(np.append(starts, len(raw))))
    if place.max() > 9:
        raise ValueError("a number of more than 10 bytes")
    groups = (raw & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(groups, starts).view(np.int64)


def _encode_feature(values: NDArray[np.generic] | Sequence[bytes]) -> bytes:
    if not isinstance(values, np.ndarray):
        return _delimited(_BYTES_LIST, b"".join(_delimited(1, item) for item in values))
    flat = values.reshape(-1)
    if np.issubdtype(flat.dtype, np.floating):
        return _delimited(_FLOAT_LIST, _delimited(1, flat.astype("<f4").tobytes()))
    packed = b"".join(_encode_varint(int(value) % (1 << 64)) for value in flat)
    return _delimited(_INT64_LIST, _delimited(1, packed))


def _delimited(number: int, payload: bytes) -> bytes:
    return _encode_varint(number << 3 | _DELIMITED) + _encode_varint(len(payload)) + payload


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
