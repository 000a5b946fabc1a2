"""Reads pickles of plain values and numpy arrays, of any protocol; a pickle that needs anything else is refused.

A pickle names functions and classes to call. They are replaced by stand-ins in this module, which build only plain
values, so a pickle cannot run code of its own. Arrays are built here too: numpy's own unpickling trusts the sizes and
flags in the pickle, and a damaged one crashes the process. Source: Python's pickle documentation, "Restricting
Globals".
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

    Ordered and default dicts are returned as plain dicts, without defaults for missing keys. Python 2 stored bytes and
    texts alike; both are returned as Latin-1 texts, as numpy's own reader does.

    Raises:
        ValueError: the pickle is damaged or needs anything else.
    """
    try:
        return _finished(_PlainUnpickler(file, encoding="latin1").load())
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a damaged pickle may make any call
        raise ValueError(str(error) or type(error).__name__) from error


class _PlainUnpickler(pickle._Unpickler):
    """Python's own reader; the C one would allocate as many values as a damaged number says."""

    # A bytearray is read as bytes, because the bytearray reader allocates memory before it reads.
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
    """The array type in a pickle: its kind and size, then its byte order."""

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
    """An array under construction: a pickle creates it first and sets its content afterwards."""

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
    """Replace placeholders with their arrays."""
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
    """Return the bytes that protocols 0 to 2 store as a text."""
    if encoding != "latin1":
        raise ValueError(f"expected bytes stored as latin1 text, got encoding {encoding!r:.40}")
    return text.encode("latin1")


def _bytes(*arguments: bytes) -> bytes:
    """Return the bytes that protocols 0 to 2 store as a call; refuse `bytes(n)`, which would allocate n zeros."""
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
