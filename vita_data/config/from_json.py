"""Configs from the JSON that a checkpoint stores, by the annotated types of their fields."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from vita_data.config.annotated import fits
from vita_data.errors import VitaDataError

Config = TypeVar("Config")


def from_json(kind: type[Config], values: Mapping[str, object]) -> Config:
    """Make a config dataclass from JSON values; a missing field gets its default.

    Raises:
        VitaDataError: a field is unknown, or its value has another type.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        raise VitaDataError(
            f"{kind.__name__} has no field {', '.join(unknown)}; it was written by another version of vita-data"
        )
    made: dict[str, Any] = {name: _made(hints[name], value, name) for name, value in values.items()}
    return kind(**made)


def _made(hint: Any, value: object, name: str) -> object:
    for option in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        origin = typing.get_origin(option) or option
        if dataclasses.is_dataclass(option) and isinstance(option, type) and isinstance(value, Mapping):
            return from_json(option, value)
        if origin is tuple and isinstance(value, list):
            (item, *_) = typing.get_args(option)
            return tuple(_made(item, one, name) for one in value)
        if isinstance(origin, type) and issubclass(origin, Enum) and value in {member.value for member in origin}:
            return origin(value)
    if not fits(value, hint):
        raise VitaDataError(f"field {name} has the unexpected value {value!r}")
    return value
