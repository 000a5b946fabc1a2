"""Writes a declaration as Python text; a value that is not told becomes the name TODO, which fails on import."""

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from vita_data.declared.declaration import Columns

TODO = "TODO"
_WIDTH, _SHORT = 100, 4
"""A call of few arguments stands in one line if it fits."""


def render(value: object, *, untold: Collection[str], path: str = "", indent: int = 0) -> str:
    """Write a value as code.

    Args:
        value: a declaration, or a part of one.
        untold: the paths of unknown values, such as `right.rotation.form`.
        path: the value's own.
        indent: the number of blanks of the line that it begins in.
    """
    if path in untold:
        return TODO
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case str():
            return quoted(value)
        case bool() | int() | None:
            return repr(value)
        case float():
            return repr(float(f"{value:.6g}"))
        case tuple():
            parts = [render(one, untold=untold, path=path, indent=indent + 4) for one in value]
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        case Mapping():
            pairs = [f"{quoted(key)}: {one!r}" for key, one in value.items()]
            return f"{{{', '.join(pairs)}}}"
    if is_dataclass(value) and not isinstance(value, type):
        return _call(value, untold=untold, path=path, indent=indent)
    raise TypeError(f"cannot write {value!r}")


def quoted(text: str) -> str:
    """Write a text as a literal: names come from strangers' files, and must not end it and become code."""
    return repr(text) if "'" in text or '"' in text else f'"{repr(text)[1:-1]}"'


def _call(value: Any, *, untold: Collection[str], path: str, indent: int) -> str:
    parts = []
    for one in fields(value):
        found, inner = getattr(value, one.name), f"{path}.{one.name}".lstrip(".")
        if one.default is not MISSING and found == one.default and inner not in untold:
            continue
        code = render(found, untold=untold, path=inner, indent=indent + 4)
        is_plain = isinstance(value, Columns) and one.name in ("key", "start")
        parts.append(code if is_plain else f"{one.name}={code}")
    name, line = type(value).__name__, ", ".join(parts)
    if "\n" not in line and indent + len(name) + len(line) < _WIDTH and len(parts) <= _SHORT:
        return f"{name}({line})"
    blank = " " * (indent + 4)
    inner = "".join(f"{blank}{part},\n" for part in parts)
    return f"{name}(\n{inner}{' ' * indent})"


def used_names(text: str, known: Collection[str]) -> list[str]:
    """List which of the known names a text calls or reads."""
    return sorted(name for name in known if re.search(rf"\b{name}[(.]", text))
