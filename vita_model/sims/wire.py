"""msgpack with numpy arrays as openpi's clients and servers send them; only the types that they use.

Source: the msgpack specification, and openpi-client 0.1.2: an array is a map with the byte keys `__ndarray__`, `data`,
`dtype` and `shape`, a numpy scalar one with `__npgeneric__`, `data` and `dtype`.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from vita_data.errors import VitaDataError

_FORMATS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZES = {
    0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H",
    0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip
"""How the sizes of bytes, texts, lists and maps are written, by the type's code."""
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_KINDS = "biufS"
"""Kinds of arrays that are taken; objects never are."""


def pack(value: object) -> bytes:
    """Encode None, bool, int, float, str, bytes, sequences, mappings, arrays and numpy scalars.

    Raises:
        TypeError: another type.
    """
    return b"".join(_pack(value))


def unpack(data: bytes) -> Any:
    """Decode one message.

    Raises:
        VitaDataError: it is cut off, has bytes left over, or holds a type that is not taken.
    """
    reader = _Reader(data)
    try:
        value = reader.value()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise VitaDataError(f"a message of {len(data)} bytes is no msgpack ({fault})") from fault
    if reader.position != len(data):
        raise VitaDataError(f"a message has {len(data) - reader.position} bytes after its end")
    return value


def _pack(value: object) -> list[bytes]:
    if isinstance(value, np.ndarray):
        packed = {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
        return _pack(packed)
    if isinstance(value, np.generic):
        return _pack({b"__npgeneric__": True, b"data": value.tobytes(), b"dtype": value.dtype.str})
    if isinstance(value, Mapping):
        items = [part for key, item in value.items() for part in (*_pack(key), *_pack(item))]
        return [_head(len(value), 0x80, 16, (None, 0xDE, 0xDF)), *items]
    if isinstance(value, (list, tuple)):
        return [_head(len(value), 0x90, 16, (None, 0xDC, 0xDD)), *(part for item in value for part in _pack(item))]
    return [_scalar(value)]


def _scalar(value: object) -> bytes:
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else struct.pack(">Bq", 0xD3, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        text = value.encode()
        return _head(len(text), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + text
    if isinstance(value, bytes):
        return _head(len(value), None, 0, (0xC4, 0xC5, 0xC6)) + value
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _head(size: int, fixed: int | None, room: int, codes: tuple[int | None, int, int]) -> bytes:
    if fixed is not None and size < room:
        return bytes([fixed | size])
    one, two, four = codes
    if one is not None and size < 1 << 8:
        return struct.pack(">BB", one, size)
    return struct.pack(">BH", two, size) if size < 1 << 16 else struct.pack(">BI", four, size)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.position = memoryview(data), 0

    def value(self) -> Any:
        code = self._take(1)[0]
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        if code < 0xC0:
            size, code = (code & 0x1F, 0xD9) if code >= 0xA0 else (code & 0x0F, 0xDC if code >= 0x90 else 0xDE)
            return self._sized(code, size)
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _FORMATS:
            return self._number(_FORMATS[code])
        if code in _SIZES:
            return self._sized(code, self._number(_SIZES[code]))
        raise ValueError(f"type {code:#x}")

    def _sized(self, code: int, size: int) -> Any:
        if code >= 0xDE:
            return _array({self.value(): self.value() for _ in range(size)})
        if code >= 0xDC:
            return [self.value() for _ in range(size)]
        raw = bytes(self._take(size))
        return raw if code <= 0xC6 else raw.decode()

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, size: int) -> memoryview:
        if self.position + size > len(self._data):
            raise ValueError("cut off")
        self.position += size
        return self._data[self.position - size : self.position]


def _array(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in found and b"__npgeneric__" not in found:
        return found
    dtype = np.dtype(found[b"dtype"])
    if dtype.kind not in _KINDS:
        raise ValueError(f"array of {dtype}")
    if b"__npgeneric__" in found:
        return np.frombuffer(found[b"data"], dtype)[0]
    return np.frombuffer(found[b"data"], dtype).reshape(found[b"shape"])
