"""openpi's protocol for server and client: msgpack messages with numpy arrays.

Source: openpi-client 0.1.2, `msgpack_numpy`: an array is a map with the byte keys `__ndarray__`, `data`, `dtype` and
`shape`; a numpy scalar is a map with `__npgeneric__`, `data` (the number) and `dtype`. Received messages are validated
before memory is allocated for them.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgpack
import numpy as np

from vita_data.errors import RequestError, VitaDataError

_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"
_NUMBERS, _TEXTS = "biuf", "S"
"""Accepted kinds of arrays: only numbers in requests, also byte strings in answers; never objects."""
_MAX_AXES = 8
_MAX_PARTS = 10_000
"""Limit of maps and lists in a message, because each may be one byte in the message, but seventy in memory."""
_MAX_ITEMS = 1 << 16
"""Limit of items in one of them; memory is allocated for as many as it declares."""
_MAX_ALL_ITEMS = 1 << 18
_MAX_DTYPE = 64
"""Characters of the name of a type, which numpy parses."""
_TOO_MANY = (
    f"expected at most {_MAX_PARTS} maps and lists in a message, with at most {_MAX_ITEMS} items each and "
    f"{_MAX_ALL_ITEMS} together; send numbers as arrays"
)

Message = Mapping[str, Any]


def pack(value: object) -> bytes:
    """Encode None, bool, int, float, str, bytes, sequences, mappings, arrays and numpy scalars.

    Raises:
        TypeError: the value has another type.
    """
    data: bytes = msgpack.packb(value, default=_encode)
    return data


def unpack(data: bytes, *, kinds: str = _NUMBERS + _TEXTS) -> Any:
    """Decode one message; `kinds` are the accepted numpy kinds of arrays.

    Raises:
        VitaDataError: the message is truncated, has extra bytes, or contains a type that is not accepted.
    """
    try:
        return msgpack.unpackb(data, **reading(partial(_decode, kinds=kinds)))
    except VitaDataError:
        raise
    except msgpack.ExtraData as fault:
        raise VitaDataError(f"expected one message, got {len(fault.extra)} more bytes after its end") from fault
    except Exception as fault:
        raise unreadable(data, fault) from fault


def unreadable(data: bytes, fault: Exception) -> VitaDataError:
    """Describe why msgpack cannot decode a message."""
    if "exceeds max_" in str(fault):
        return VitaDataError(_TOO_MANY)
    told = f"expected a msgpack message, got {len(data)} bytes of other data ({type(fault).__name__}: {fault})"
    return VitaDataError(told)


def reading(decode: Callable[[dict[Any, Any]], object]) -> dict[str, Any]:
    """Give msgpack's options for one message: `decode` converts maps, and maps, lists and items are limited."""
    num_parts = num_items = 0

    def count(value: Any) -> Any:
        nonlocal num_parts, num_items
        num_parts, num_items = num_parts + 1, num_items + len(value)
        if num_parts > _MAX_PARTS or num_items > _MAX_ALL_ITEMS:
            raise VitaDataError(_TOO_MANY)
        return value

    return {
        "object_hook": lambda value: decode(count(value)), "list_hook": count, "strict_map_key": False,
        "max_array_len": _MAX_ITEMS, "max_map_len": _MAX_ITEMS,
    }  # fmt: skip


def read_request(data: bytes) -> Message:
    """Decode a client's request.

    Raises:
        RequestError: the bytes are not a valid message, or an array in it is invalid.
    """
    try:
        message = unpack(data, kinds=_NUMBERS)
    except VitaDataError as fault:
        raise RequestError(str(fault)) from fault
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise RequestError(f"a message must be a map with string keys; found {type(message).__name__}")
    return message


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": list(value.shape)}
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot send a value of type {type(value).__name__}")


def _decode(value: dict[Any, Any], *, kinds: str) -> object:
    if _ARRAY in value:
        return decode_array(value.get(b"dtype"), value.get(b"shape"), value.get(b"data"), kinds=kinds)
    if _SCALAR in value:
        return np.array(value.get(b"data"), _dtype(value.get(b"dtype"), kinds))[()]
    return value


def decode_array(dtype_name: object, shape: Any, data: object, *, kinds: str = _NUMBERS) -> np.ndarray[Any, Any]:
    """Make an array from its description in a message; `kinds` are the accepted numpy kinds.

    Raises:
        VitaDataError: its type is not accepted, or its bytes do not match type and shape.
    """
    dtype = _dtype(dtype_name, kinds)
    fits = isinstance(shape, list) and len(shape) <= _MAX_AXES and all(type(n) is int and n >= 0 for n in shape)
    if not fits or not isinstance(data, bytes) or math.prod(shape or ()) * dtype.itemsize != len(data):
        raise VitaDataError(f"array: its bytes do not match its type {dtype} and shape {shape}")
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError) as fault:  # no data, of a type or shape that no array has
        raise VitaDataError(f"array: numpy has none of type {dtype} and shape {shape} ({fault})") from fault


def _dtype(name: object, kinds: str) -> np.dtype[Any]:
    if isinstance(name, str) and len(name) > _MAX_DTYPE:
        raise VitaDataError(f"array: expected the name of a type, got {len(name)} characters")
    try:
        dtype = np.dtype(name if isinstance(name, str) else object)
    except (TypeError, ValueError, SyntaxError) as fault:
        raise VitaDataError(f"array: numpy does not know its type {name!r}") from fault
    if dtype.kind not in kinds:
        raise VitaDataError(f"array: expected booleans, integers or floats, got {dtype} ({name!r})")
    return dtype
