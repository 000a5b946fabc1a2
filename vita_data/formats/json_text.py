"""Parses JSON of strangers: a text that is nested too deeply or holds endless integers is an error like any other."""

import json
import re
from typing import Any

from vita_data.formats.limits import MAX_INTEGER_DIGITS, MAX_JSON_DEPTH

_LONG_NUMBER = rf"\d{{{MAX_INTEGER_DIGITS + 1}}}"
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
