"""`--set KEY=VALUE`: override one field of a recipe; the field's annotation decides how VALUE is parsed.

The prefix `model.` can be left out if the recipe itself has no field of that name: `visual.backbone=DIR`.

The configs themselves check whether a value is valid.
"""

import ast
import dataclasses
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from types import UnionType
from typing import TypeVar

from vita_data.config.checks import is_finite
from vita_data.errors import RequestError, did_you_mean
from vita_model.network.configs import VitaConfig
from vita_model.training.recipes.presets import RECIPE_PRESETS
from vita_model.training.recipes.recipe import Recipe, own_windows

Config = TypeVar("Config")
_RECIPE_FIELDS = frozenset(field.name for field in dataclasses.fields(Recipe))
_PRESET = "preset"
_MODEL_FIELDS = frozenset(field.name for field in dataclasses.fields(VitaConfig))


def override(recipe: Recipe, settings: Sequence[str], *, option: str = "--set") -> Recipe:
    """Apply the `KEY=VALUE` settings of an option.

    KEY is a dotted path such as `optimizer.lr` or, for the model, `visual.backbone`.
    `preset=paper` sets all fields in which the defaults differ from the paper; later settings can override them.

    Raises:
        RequestError: a field does not exist, or a value has the wrong type.
    """
    for setting in settings:
        key, separator, text = setting.partition("=")
        asked = f"{option} {setting}"
        if not separator:
            raise RequestError(f"{asked}: expected KEY=VALUE, for example optimizer.lr=1e-4")
        change = partial(_replaced, path=_full_path(key), text=text, asked=asked)
        recipe = _preset(text, asked)(recipe) if key == _PRESET else change(recipe)
    return recipe


def _preset(name: str, asked: str) -> Callable[[Recipe], Recipe]:
    if name not in RECIPE_PRESETS:
        raise RequestError(f"{asked}: unknown preset; expected {', '.join(RECIPE_PRESETS)}")
    return RECIPE_PRESETS[name]


def setting_named(option: str) -> str:
    """Return the setting of the recipe's field that an unknown option names: `--init` is `--set init=VALUE`; or ""."""
    name = option.lstrip("-").replace("-", "_")
    hints = typing.get_type_hints(Recipe)
    inside = [f"{part}.{name}" for part, kind in hints.items() if name in getattr(kind, "__dataclass_fields__", ())]
    found = [name] if name in hints else inside
    return " or ".join(f"--set {key}=VALUE" for key in found)


def full_name(key: str) -> str:
    """Give the whole dotted name of the field that `KEY` of a setting means."""
    return ".".join(_full_path(key))


def _full_path(key: str) -> list[str]:
    path = key.split(".")
    short = path[0] in _MODEL_FIELDS and path[0] not in _RECIPE_FIELDS
    return ["model", *path] if short else path


def _replaced(config: Config, path: list[str], text: str, asked: str) -> Config:
    """Copy nested frozen configs with one field changed."""
    hints = typing.get_type_hints(type(config))
    if path[0] not in hints:
        known = {*hints, *_MODEL_FIELDS} if isinstance(config, Recipe) else set(hints)
        hint = _inside(config, path[0]) or did_you_mean(path[0], sorted(known), f"fields: {', '.join(hints)}")
        raise RequestError(f"{asked}: {type(config).__name__} has no field {path[0]!r}; {hint}")
    old = getattr(config, path[0])
    if isinstance(config, Recipe) and path[0] == "windows" and old is None:
        old = own_windows(config)
        if old is None:
            raise RequestError(
                f"{asked}: fine-tuning windows depend on the sources' cameras; first add a WindowSpec to "
                f"recipe {config.name}"
            )
    if len(path) > 1 and not dataclasses.is_dataclass(old):
        raise RequestError(f"{asked}: {path[0]!r} is a single value without fields")
    value = _replaced(old, path[1:], text, asked) if len(path) > 1 else _parsed(text, hints[path[0]], asked)
    try:
        return dataclasses.replace(config, **{path[0]: value})  # type: ignore[type-var]
    except RequestError as fault:
        raise RequestError(f"{asked}: {fault}") from fault


def _inside(config: object, name: str) -> str:
    """Suggest the part of a config that has a field: `did you mean optimizer.lr?`; empty if none has."""
    parts = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    found = [part for part in parts if name in getattr(getattr(config, part), "__dataclass_fields__", ())]
    return f"did you mean {' or '.join(f'{part}.{name}' for part in found)}?" if found else ""


def _parsed(text: str, hint: object, asked: str) -> object:
    """Parse a value of the annotated type; `none` is allowed if the field may be None."""
    options = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if text.lower() == "none" and type(None) in options:
        return None
    kinds = [option for option in options if option is not type(None)]
    for kind in kinds:
        if kind is str:
            return text
        if kind == tuple[str, ...]:
            return _words(text)
        if isinstance(kind, type) and issubclass(kind, Enum) and text in {str(member.value) for member in kind}:
            return kind(text)
        value = _members(text, kind) if _enum_of(kind) else _literal(text)
        if kind is float and type(value) is int and is_finite(value):
            return float(value)
        origin = typing.get_origin(kind) or kind
        if origin is tuple and is_finite(value):
            value = (value,)
        if isinstance(origin, type) and isinstance(value, origin) and isinstance(value, bool) == (kind is bool):
            return value
    raise RequestError(f"{asked}: expected {' or '.join(_type_name(kind) for kind in kinds)}, got {text!r}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _members(text: str, kind: object) -> tuple[Enum, ...] | None:
    """Parse comma-separated enum members; None if one of them is unknown."""
    members = _enum_of(kind)
    known = {str(member.value): member for member in members} if members else {}
    words = _words(text)
    return tuple(known[word] for word in words) if set(words) <= known.keys() else None


def _enum_of(kind: object) -> type[Enum] | None:
    """Give the enum of a `tuple[Enum, ...]` type; None for other types."""
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
    return item if isinstance(item, type) and issubclass(item, Enum) else None


def _literal(text: str) -> object:
    """Parse a Python number, tuple, mapping or true/false; None for anything else."""
    try:
        value: object = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value


def _type_name(kind: object) -> str:
    if members := _enum_of(kind):
        return f"one or more of {', '.join(str(member.value) for member in members)}, separated by commas"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(str(member.value) for member in kind)}"
    return f"a value of type {getattr(kind, '__name__', str(kind))}"
