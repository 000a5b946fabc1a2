"""Checks config values against the annotated types: a recipe is Python that may not have been type-checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any


def first_misfit(config: Any, path: str = "") -> str | None:
    """Name the first field of a config dataclass, or of one inside it, whose value has another type than annotated."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value, where = getattr(config, name), f"{path}.{name}" if path else name
        if not fits(value, hint):
            wanted = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
            return f"{where} must be {wanted}{_members(hint)}; found {value!r}"
        if dataclasses.is_dataclass(value) and (inner := first_misfit(value, where)):
            return inner
    return None


def fits(value: object, hint: Any) -> bool:
    """Tell whether a value has a type; a list is accepted for a tuple and a whole number for a float."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is types.UnionType:
        return any(fits(value, option) for option in inner)
    if kind is tuple:
        return isinstance(value, (tuple, list)) and all(fits(one, inner[0]) for one in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(fits(key, inner[0]) for key in value)
    return isinstance(value, kind)


def _members(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f" ({', '.join(f'{hint.__name__}.{name}' for name in hint.__members__)})"
    return ""
