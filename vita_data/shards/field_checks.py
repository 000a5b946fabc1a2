"""Checks of values that were read from JSON, for the fields of cards and clips."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from vita_data.config.checks import is_finite, is_whole

Check = Callable[[object], bool]


def is_text(value: object) -> bool:
    """Tell whether a value is a text."""
    return isinstance(value, str)


def is_name(value: object) -> bool:
    """Tell whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_flag(value: object) -> bool:
    """Tell whether a value is true or false."""
    return isinstance(value, bool)


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number, zero or more."""
    return is_whole(value, least=0)


def is_rate(value: object) -> bool:
    """Tell whether a value is a finite number above zero."""
    return isinstance(value, (int, float)) and is_finite(value) and value > 0


def or_none(check: Check) -> Check:
    """Allow null too."""
    return lambda value: value is None or check(value)


def one_of(kind: type[StrEnum]) -> Check:
    """Check for one of the values of a kind."""
    return lambda value: value in list(kind)


def list_of(check: Check) -> Check:
    """Check each item of a list."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def table(keys: Check, values: Check) -> Check:
    """Check the keys and the values of an object."""
    return lambda value: isinstance(value, Mapping) and all(map(keys, value)) and all(map(values, value.values()))


def record(fields: Mapping[str, Check]) -> Check:
    """Check the fields of an object that has exactly these."""
    return lambda value: (
        isinstance(value, Mapping)
        and value.keys() == fields.keys()
        and all(check(value[name]) for name, check in fields.items())
    )
