"""`--set KEY=VALUE`: text from the command line into a source's own Settings dataclass, and back into JSON."""

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from enum import StrEnum

from vita_data.errors import RequestError, did_you_mean
from vita_data.types import Json, SourceSettings

_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
}


def parse_settings(kind: type[SourceSettings], assignments: Sequence[str], *, source: str) -> SourceSettings:
    """Make a source's settings from `KEY=VALUE` texts.

    Raises:
        RequestError: an unknown key (the message names the nearest), a value of the wrong type, or a text without `=`.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise RequestError(f"--set {assignment}: expected KEY=VALUE")
        if key not in hints:
            hint = did_you_mean(key, hints, f"{source} has: {', '.join(sorted(hints))}")
            raise RequestError(f"--set {key}: unknown setting of source {source!r}; {hint}")
        values[key] = _value(text, hints[key], asked=assignment)
    try:
        return kind(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(f"--set for source {source!r}: {error}") from error


def settings_json(settings: SourceSettings) -> Json:
    """Convert settings to JSON for the card and the build's hash."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def describe_settings(kind: type[SourceSettings]) -> Json:
    """List a source's `--set` keys with type and default."""
    hints = typing.get_type_hints(kind)
    defaults = settings_json(kind())
    return {name: {"type": _type_name(hints[name]), "default": defaults[name]} for name in sorted(hints)}


def _value(text: str, hint: object, *, asked: str) -> object:
    options = [option for option in _options(hint) if option is not type(None)]
    kind = options[0]
    if kind is not options[-1]:
        raise TypeError(f"expected a setting with one type besides None, got {hint}")
    if typing.get_origin(kind) is tuple:
        return tuple(part for part in text.split(",") if part)
    if not isinstance(kind, type):
        raise TypeError(f"unsupported type of a setting: {kind!r}")
    try:
        if issubclass(kind, bool):
            return {"true": True, "false": False}[text.lower()]
        if issubclass(kind, int | float | str):
            value = kind(text)
            if isinstance(value, float) and not math.isfinite(value):
                raise RequestError(f"--set {asked}: expected a finite number, found {text!r}")
            return value
        raise TypeError(f"unsupported type of a setting: {kind!r}")
    except (ValueError, KeyError):
        raise RequestError(f"--set {asked}: expected {_wanted(hint)}, found {text!r}") from None


def _options(hint: object) -> tuple[object, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _type_name(hint: object) -> str:
    names = []
    for option in _options(hint):
        if isinstance(option, type) and issubclass(option, StrEnum):
            names.append("|".join(option))
        elif typing.get_origin(option) is tuple:
            names.append("a comma-separated list")
        else:
            names.append("none" if option is type(None) else str(getattr(option, "__name__", option)))
    return " or ".join(names)


def _wanted(hint: object) -> str:
    """Describe in words the values that a setting accepts."""
    options = _options(hint)
    return _WORDS.get(options[0], _type_name(options[0]))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
