"""Checks of single config fields, so that a value that cannot work is refused where it is given.

What depends on several fields is checked where they are used: `recipe.check_windows` and the model's constructors.
"""

import math
import operator

from vita_data.errors import RequestError

MAX_SEED = 2**63 - 1
"""The largest seed that both torch and the loader accept."""


def require(config: object, name: str, *, fits: bool, wanted: str) -> None:
    """Refuse a field that does not fit.

    Raises:
        RequestError: the field does not fit; names config, field, the value found and the expected values.
    """
    if not fits:
        raise RequestError(f"{type(config).__name__}.{name} must be {wanted}; found {getattr(config, name)!r}")


def require_whole(config: object, *names: str, least: int = 1, most: int | None = None) -> None:
    """Check whole numbers within least..most; raises as `require`."""
    wanted = f"a whole number, at least {least}" + ("" if most is None else f" and at most {most}")
    for name in names:
        require(config, name, fits=is_whole(getattr(config, name), least=least, most=most), wanted=wanted)


def require_positive(config: object, *names: str, most: float = math.inf) -> None:
    """Check finite numbers above 0 and up to `most`; raises as `require`."""
    for name in names:
        value = getattr(config, name)
        fits = is_finite(value) and 0 < value <= most
        require(config, name, fits=fits, wanted="a finite number above 0" + _limit(most))


def require_not_negative(config: object, *names: str, most: float = math.inf) -> None:
    """Check finite numbers from 0 up to `most`; raises as `require`."""
    for name in names:
        value = getattr(config, name)
        fits = is_finite(value) and 0 <= value <= most
        require(config, name, fits=fits, wanted="a finite number, 0 or more" + _limit(most))


def require_part(config: object, *names: str) -> None:
    """Check numbers from 0 up to, not including, 1; raises as `require`."""
    for name in names:
        value = getattr(config, name)
        require(config, name, fits=is_finite(value) and 0 <= value < 1, wanted="a number in [0, 1)")


def is_whole(value: object, *, least: int, most: int | None = None) -> bool:
    """Tell whether a value is an int, not a bool, within least..most."""
    return type(value) is int and value >= least and (most is None or value <= most)


def whole(name: str, value: object, *, most: int | None = None) -> int:
    """Return a Python caller's whole number, which may be numpy's, as an int: any, or one within 0..most.

    Raises:
        RequestError: it is none, or too small or large.
    """
    number = plain(value)
    if not isinstance(number, int) or isinstance(number, bool) or (most is not None and not 0 <= number <= most):
        limit = "" if most is None else f" from 0 to {most}"
        raise RequestError(f"{name}: expected a whole number{limit}, got {value!r}")
    return number


def plain(value: object) -> object:
    """Return a whole number of numpy as an int; anything else unchanged."""
    try:
        return value if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return value


def is_finite(value: object) -> bool:
    """Tell whether a value is a number, not a bool, that float64 can represent."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _limit(most: float) -> str:
    return "" if most == math.inf else f" and at most {most:g}"
