"""Pickles of plain values and numpy arrays, of any protocol; one that asks for anything else is refused.

A pickle names functions and classes to call. It gets stand-ins of this file, which build plain values alone, so it runs
no code of its own. Arrays are built here too: numpy's own way back from a pickle trusts what the pickle says of sizes
and flags, and a damaged one ends the process. Source: Python's pickle documentation, "Restricting Globals".
"""

import pickle
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Python 2 and numpy 1 have other names for the same modules.
_MODULES = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}
_KINDS = re.compile(r"[biufSUO]\d+")


def load_plain(file: BinaryIO) -> object:
    """Read one pickled value: numbers, texts, bytes, lists, tuples, sets, dicts and arrays of numbers, texts or values.

    Dicts that are ordered or have a default come as plain ones, in which a missing key is missing. Python 2 stored
    bytes and texts alike; both come as texts, Latin-1, as numpy's own reader has it.

    Raises:
        ValueError: the pickle is damaged or asks for something else.
    """
    try:
        return _finished(_PlainUnpickler(file, encoding="latin1").load())
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a damaged pickle calls anything with anything
        raise ValueError(str(error) or type(error).__name__) from error


class _PlainUnpickler(pickle._Unpickler):
    """Python's own reader, not the one in C, which makes room for as many values as a damaged number says."""

    # A bytearray is read as bytes, for the reader of a bytearray makes room before it reads.
    dispatch = {  # noqa: RUF012 - the name and the type are Python's
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _BUILDERS[_MODULES.get(module, module), name]
        except KeyError:
            what = f"expected plain values and arrays, got {module}.{name}"
            raise pickle.UnpicklingError(what) from None


class _Dtype:
    """What a pickle says of an array's type: its kind and size, then its byte order."""

    def __init__(self, kind: str, *_: object) -> None:
        if not _KINDS.fullmatch(kind):
            raise ValueError(f"expected an array of numbers, texts or values, got type {kind!r:.40}")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, order, inner, names, fields, *_ = state
        if inner is not None or names is not None or fields is not None:
            raise ValueError("expected an array of numbers, texts or values, got records")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that is not there yet: a pickle makes it first and says then what is in it."""

    def __init__(self, *_: object) -> None:
        self.values: Sequence[Any] | NDArray[Any] = ()
        self.shape: Any = ()

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, is_fortran, data = state
        if dtype.dtype.kind == "O":
            self.values, self.shape = list(data), shape
        else:
            self.values = _from_buffer(data, dtype, shape, "F" if is_fortran else "C")


def _from_buffer(data: bytes | str, dtype: _Dtype, shape: Any, order: Any, *_: object) -> NDArray[Any]:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    if not dtype.dtype.itemsize or not raw:
        return np.zeros(shape if 0 in np.atleast_1d(shape) else (), dtype.dtype)
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: Any = b"") -> object:
    return data if dtype.dtype.kind == "O" else _from_buffer(data, dtype, (), "C")[()]


def _finished(value: Any) -> Any:
    """Put the arrays in their places."""
    match value:
        case _Array(values=np.ndarray() as values):
            return values
        case _Array():
            array = np.empty(len(value.values), object)
            for index, item in enumerate(value.values):
                array[index] = _finished(item)
            return array.reshape(value.shape)
        case dict():
            return {key: _finished(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_finished(item) for item in value)
    return value


def _dict_without_default(*arguments: Any) -> dict[Any, Any]:
    return dict(*arguments[1:])


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """Give the bytes that protocols 0 to 2 store as a text."""
    if encoding != "latin1":
        raise ValueError(f"expected bytes stored as latin1 text, got encoding {encoding!r:.40}")
    return text.encode("latin1")


def _bytes(*arguments: bytes) -> bytes:
    """Give the bytes that protocols 0 to 2 store by a call; never as many zeros as a number says."""
    return b"".join(arguments)


_BUILDERS = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("collections", "OrderedDict"): dict,
    ("collections", "defaultdict"): _dict_without_default,
    ("_codecs", "encode"): _bytes_of_text,
    ("builtins", "bytes"): _bytes,
    **{("builtins", kind.__name__): kind for kind in (bool, int, float, str, list, tuple, dict, set, frozenset)},
}
