"""Parses JSON of strangers: a text that is nested too deeply or holds endless integers is an error like any other."""

import json
import re
from typing import Any, BinaryIO

import numpy as np

from vita_data.formats.limits import MAX_INTEGER_DIGITS, MAX_JSON_DEPTH

_LONG_NUMBER = rf"\d{{{MAX_INTEGER_DIGITS + 1}}}"
_DEPTHS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NEITHER = bytes(set(range(256)) - set(b'[{]}"'))
"""All signs but brackets and quotes."""
_LONG_TEXT, _LONG_BYTES = re.compile(_LONG_NUMBER), re.compile(_LONG_NUMBER.encode())


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON, or exceeds the limits of depth or of the digits of an integer.
        TypeError: it is not a text.
    """
    try:
        has_long = _LONG_TEXT.search(text) if isinstance(text, str) else _LONG_BYTES.search(text)
        value = json.loads(text, parse_int=_integer if has_long else None)
    except RecursionError:
        raise _too_deep() from None
    _require_shallow(value)
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"expected integers of at most {MAX_INTEGER_DIGITS} digits, got {len(digits)}")
    return int(digits)


def _require_shallow(value: object) -> None:
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict | list):
                items = node.values() if isinstance(node, dict) else node
                inner += [item for item in items if isinstance(item, dict | list)]
        if not inner:
            return
        level = inner
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"nested more than {MAX_JSON_DEPTH} levels deep")


class ShallowJson:
    """A file of JSON that is parsed piece by piece; reading on fails where it is nested too deeply.

    A parser that keeps the path of each level would need memory that grows with the square of the depth.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._depth, self._is_in_text, self._kept = 0, False, b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: they are nested too deeply.
        """
        data = self._file.read(size)
        brackets = np.frombuffer(self._outside_texts(data).translate(_DEPTHS), np.int8)
        depths = self._depth + np.cumsum(brackets, dtype=np.int64)
        if len(depths):
            self._depth = int(depths[-1])
            if depths.max() > MAX_JSON_DEPTH:
                raise _too_deep()
        return data

    def _outside_texts(self, data: bytes) -> bytes:
        data, self._kept = self._kept + data, b""
        if (len(data) - len(data.rstrip(b"\\"))) % 2:  # the sign that it escapes is in the next piece
            data, self._kept = data[:-1], b"\\"
        if b"\\" in data:
            data = data.replace(rb"\\", b"").replace(rb"\"", b"")
        pieces = data.translate(None, _NEITHER).split(b'"')
        outside = pieces[self._is_in_text :: 2]
        self._is_in_text ^= len(pieces) % 2 == 0
        return b"".join(outside)
