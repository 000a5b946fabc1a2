"""Reads pickles of plain values and numpy arrays, of any protocol; a pickle that needs anything else is refused.

A pickle names functions and classes to call. Here a name is only an inert marker (`_Name`), and a call is looked up in
a short table of functions of this module, so a pickle cannot run, change or reach anything. Arrays are built here too,
from copied bytes or from lists: numpy's own unpickling trusts the sizes and flags in the pickle, and a damaged one
crashes the process. Source: Python's pickle documentation, "Restricting Globals".
"""

import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vita_data.formats.limits import MAX_ARRAY_BYTES, MAX_INTEGER_DIGITS, MAX_JSON_DEPTH, MAX_PICKLED_VALUES

# Python 2 and numpy 1 have other names for the same modules.
_MODULES = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}
_KINDS = re.compile(r"[biufSUO]\d{1,6}")
_LEAVES = (str, bytes, float, bool, type(None))
_CHARS_PER_VALUE = 64
"""Long texts count as several values."""
_PLAIN = (str, bytes, int, float, bool, np.generic, type(None))
"""Types that have no parts; values of other types are never hashed, since hashing deep tuples crashes the process."""


def load_plain(file: BinaryIO) -> object:
    """Read one pickled value: numbers, texts, bytes, lists, tuples, sets, dicts and arrays of numbers, texts or values.

    Ordered and default dicts are returned as plain dicts, without defaults for missing keys. Python 2 stored bytes and
    texts alike; both are returned as Latin-1 texts, as numpy's own reader does.

    Raises:
        ValueError: the pickle is damaged or needs anything else.
    """
    try:
        return _Finisher().finished(_PlainUnpickler(file, encoding="latin1").load())
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a damaged pickle can make Python's reader raise anything
        raise ValueError(str(error) or type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that a pickle may mention; it does nothing."""

    module: str
    name: str


@dataclass(slots=True)
class _Dtype:
    """The array type in a pickle: its kind and size, then its byte order."""

    dtype: np.dtype[Any]

    def set_state(self, state: Any) -> None:
        _, order, inner, names, fields, *_ = state
        if inner is not None or names is not None or fields is not None:
            raise ValueError("expected an array of numbers, texts or values, got records")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


@dataclass(slots=True)
class _Array:
    """An array under construction: a pickle creates it first and sets its content afterwards."""

    values: list[Any] | NDArray[Any] | None = None
    shape: tuple[int, ...] = ()

    def set_state(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if self.values is not None:
            raise ValueError("expected one content of an array, got two")
        if dtype.dtype.kind != "O":
            self.values = _from_buffer(data, dtype, shape, "F" if is_fortran else "C").values
        elif type(data) is list:
            self.values, self.shape = list(data), _checked(shape, len(data))
        else:
            raise ValueError(f"expected a list as the content of an array of values, got {type(data).__name__}")


def _checked(shape: Any, num_items: int) -> tuple[int, ...]:
    """Return the shape of an array of so many items."""
    is_shape = type(shape) is tuple and len(shape) < 32 and all(type(size) is int and size >= 0 for size in shape)
    if not is_shape or math.prod(shape) != num_items or max(shape, default=0) > MAX_ARRAY_BYTES:
        raise ValueError(f"expected a shape of {num_items} items, got another one")
    return tuple(shape)


def _dtype(kind: Any, *_: object) -> _Dtype:
    if type(kind) is not str or not _KINDS.fullmatch(kind):
        raise ValueError("expected an array of numbers, texts or values, got another type")
    return _Dtype(np.dtype(kind))


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: object) -> _Array:
    raw = data.encode("latin1") if type(data) is str else data
    if type(raw) is not bytes or type(dtype) is not _Dtype or dtype.dtype.kind == "O" or order not in ("C", "F"):
        raise ValueError("expected the bytes of an array of numbers or texts")
    num_items, rest = divmod(len(raw), dtype.dtype.itemsize or 1)
    if rest:
        raise ValueError(f"expected items of {dtype.dtype.itemsize} bytes, got {len(raw)} bytes")
    sizes = _checked(shape, num_items)
    return _Array(_texts_checked(np.frombuffer(raw, dtype.dtype)).reshape(sizes, order=order))


def _texts_checked(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "U" and array.dtype.itemsize and array.size:
        code_points = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if code_points.max() > 0x10FFFF:
            raise ValueError("expected texts, got numbers that are no characters")
    return array


def _scalar(dtype: Any, data: Any = b"") -> object:
    if type(dtype) is _Dtype and dtype.dtype.kind in "SU" and not dtype.dtype.itemsize:
        return np.str_() if dtype.dtype.kind == "U" else np.bytes_()
    array = _from_buffer(data, dtype, ()).values
    return array[()] if isinstance(array, np.ndarray) else None


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) is not list and pairs != ():
        raise ValueError("expected a list of pairs as the content of a dict")
    return {_key(key): value for key, value in pairs}


def _dict_without_default(default: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    return _dict(pairs)


def _set(items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple):
        raise ValueError("expected a list as the content of a set")
    return {_key(item) for item in items}


def _frozenset(items: Any = ()) -> frozenset[Any]:
    return frozenset(_set(items))


def _bytes_of_text(text: Any, encoding: Any) -> bytes:
    """Return the bytes that protocols 0 to 2 store as a text."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError("expected bytes stored as latin1 text")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    """Return the bytes that protocols 0 to 2 store as a call; refuse `bytes(n)`, which would allocate n zeros."""
    return b"".join(arguments)


def _new_array(*_: object) -> _Array:
    return _Array()


_CALLS: Mapping[_Name, Callable[..., object]] = {
    _Name("numpy", "dtype"): _dtype,
    _Name("numpy._core.multiarray", "_reconstruct"): _new_array,
    _Name("numpy._core.multiarray", "scalar"): _scalar,
    _Name("numpy._core.numeric", "_frombuffer"): _from_buffer,
    _Name("collections", "OrderedDict"): _dict,
    _Name("collections", "defaultdict"): _dict_without_default,
    _Name("_codecs", "encode"): _bytes_of_text,
    _Name("builtins", "bytes"): _bytes,
    _Name("builtins", "set"): _set,
    _Name("builtins", "frozenset"): _frozenset,
}
# Names that occur as arguments only: the class of an array, what a default dict makes.
_MENTIONED = frozenset(
    {
        _Name("numpy", "ndarray"),
        *(_Name("builtins", kind) for kind in ("bool", "int", "float", "str", "list", "tuple", "dict")),
    }
)


def _key(value: Any) -> Any:
    """Return a value that may be hashed: a plain one, or a tuple of plain ones."""
    parts = value if type(value) is tuple else (value,)
    if not all(isinstance(part, _PLAIN) for part in parts):
        raise ValueError("expected numbers and texts as keys")
    return value


_REFUSED = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID, pickle.BINPERSID),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def _refuse(unpickler: "_PlainUnpickler") -> None:
    raise pickle.UnpicklingError("expected plain values and arrays, got another instruction")


class _PlainUnpickler(pickle._Unpickler):
    """Python's own reader; the C one would allocate as many values as a damaged number says.

    Every instruction that calls, changes or hashes something is replaced.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str, /) -> Any:
        found = _Name(_MODULES.get(module, module), name)
        if found not in _CALLS and found not in _MENTIONED:
            raise pickle.UnpicklingError(f"expected plain values and arrays, got {module:.40}.{name:.40}")
        return found

    def _call(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple or type(name) is not _Name or name not in _CALLS:
            raise pickle.UnpicklingError("expected a call that builds a plain value, got another one")
        self.stack[-1] = _CALLS[name](*arguments)

    def _set_state(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if type(made) not in (_Dtype, _Array):
            raise pickle.UnpicklingError("expected the state of an array, got that of another value")
        made.set_state(state)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dict_on_top()[_key(key)] = value

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._dict_on_top().update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def _dict_on_top(self) -> dict[Any, Any]:
        found = self.stack[-1]
        if type(found) is not dict:
            raise pickle.UnpicklingError(f"expected a dict, got {type(found).__name__}")
        return found

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append(dict(zip(map(_key, items[::2]), items[1::2], strict=True)))

    def _add_items(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError("expected a set, got another value")
        self.stack[-1].update(map(_key, items))

    def _make_frozenset(self) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(_key, items)))

    # A bytearray is read as bytes, because the bytearray reader allocates memory before it reads.
    dispatch = {  # noqa: RUF012 - the name and the type are Python's
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
        **cast(
            "dict[int, Any]",
            {
                pickle.REDUCE[0]: _call,
                pickle.BUILD[0]: _set_state,
                pickle.SETITEM[0]: _set_item,
                pickle.SETITEMS[0]: _set_items,
                pickle.DICT[0]: _make_dict,
                pickle.ADDITEMS[0]: _add_items,
                pickle.FROZENSET[0]: _make_frozenset,
                **{code[0]: _refuse for code in _REFUSED},
            },
        ),
    }


class _Finisher:
    """Replaces placeholders with their arrays, within the limits of depth and number of values.

    A list may be mentioned many times, and its mentions may be mentioned again: counting each mention keeps a short
    pickle from becoming a value that no memory holds.
    """

    def __init__(self) -> None:
        self._num_left = MAX_PICKLED_VALUES

    def finished(self, value: Any, depth: int = 0) -> Any:
        self._num_left -= 1 + (len(value) // _CHARS_PER_VALUE if isinstance(value, str | bytes) else 0)
        if depth > MAX_JSON_DEPTH or self._num_left < 0:
            raise ValueError("its values are nested too deeply, or are too many")
        if type(value) in _LEAVES:
            return value
        match value:
            case _Array(values=np.ndarray() as values):
                return values
            case _Array(values=list() as items, shape=shape):
                array = np.empty(len(items), object)
                for index, item in enumerate(items):
                    array[index] = self.finished(item, depth + 1)
                return array.reshape(shape)
            case dict():
                return {self.finished(key, depth + 1): self.finished(item, depth + 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(self.finished(item, depth + 1) for item in value)
            case int() if not isinstance(value, bool) and abs(value) >= 10**MAX_INTEGER_DIGITS:
                raise ValueError(f"expected integers of at most {MAX_INTEGER_DIGITS} digits")
        if not isinstance(value, _PLAIN):
            raise ValueError("expected plain values and arrays, got a part of one")
        return value
