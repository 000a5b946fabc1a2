"""Messages as openpi's client packs them: msgpack, arrays and numpy scalars as maps with bytes keys.

Source: openpi-client 0.1.2, `msgpack_numpy`. What comes from outside is checked before memory is made for it.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from vita_data.errors import RequestError

_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"
_KINDS = "biuf"
_MAX_AXES = 8

Message = Mapping[str, Any]


def packed(message: Message) -> bytes:
    """Pack a message; arrays and numpy scalars keep their type."""
    data: bytes = msgpack.packb(message, default=_encode)
    return data


def unpacked(data: bytes) -> Message:
    """Read a message.

    Raises:
        RequestError: the bytes are no message, or an array in it is not what it says.
    """
    try:
        message = msgpack.unpackb(data, object_hook=_decode, strict_map_key=False)
    except RequestError:
        raise
    except Exception as fault:
        raise RequestError(
            f"a message of {len(data)} bytes that is no msgpack ({type(fault).__name__}: {fault})"
        ) from fault
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise RequestError(f"a message must be a map with text keys; found {type(message).__name__}")
    return message


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": list(value.shape)}
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be packed")


def _decode(value: dict[Any, Any]) -> object:
    if _ARRAY in value:
        return _array(value)
    if _SCALAR in value:
        return np.array(value.get(b"data"), _dtype(value))[()]
    return value


def _array(value: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
    dtype, shape, data = _dtype(value), value.get(b"shape"), value.get(b"data")
    fits = isinstance(shape, list) and len(shape) <= _MAX_AXES and all(type(n) is int and n >= 0 for n in shape)
    if not fits or not isinstance(data, bytes) or math.prod(shape or ()) * dtype.itemsize != len(data):
        raise RequestError(f"an array of {dtype} {shape} does not fit its bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _dtype(value: Mapping[Any, Any]) -> np.dtype[Any]:
    name = value.get(b"dtype")
    try:
        dtype = np.dtype(name if isinstance(name, str) else "")
    except TypeError:
        dtype = np.dtype(object)
    if not isinstance(name, str) or dtype.kind not in _KINDS:
        raise RequestError(f"an array of type {name!r}; send bool, whole or floating numbers")
    return dtype
