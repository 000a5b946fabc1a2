"""What state.json may hold, checked before anything is built from it: a checkpoint may come from a stranger.

Each check raises ValueError that names the place, what was expected there and what was found.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from vita_data.action_convention import Convention, Flip, Turn
from vita_data.slots import VECTOR_DIMS
from vita_data.types import CameraRole, Json, ResizeMode, Stage

MAX_STATE_BYTES = 64 << 20
_MAX_STEP = 99_999_999
"""The largest step that a checkpoint's name has digits for."""
_MAX_DRAWN = 2**63 - 1
_MAX_HORIZON = 4096
_SHA256 = re.compile("[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TABLES = ("recipe", "sampler", "statistics", "drawn", "conventions", "resizes")


def check_state(state: Mapping[str, object]) -> None:
    """Check the form of a whole state.json: types, names and ranges that every user of it relies on.

    Raises:
        ValueError: a value does not fit.
    """
    _whole(state.get("step"), "step", most=_MAX_STEP)
    _one_of(state.get("stage"), "stage", tuple(Stage))
    _text(state.get("features"), "features")
    for name in _TABLES:
        _table(state.get(name, {}), name)
    for where, value in (*_tables(state, "statistics"), *_tables(state, "conventions"), *_tables(state, "drawn")):
        _table(value, where)
    for modality, counts in _table(state["drawn"], "drawn").items():
        for source, count in _table(counts, f"drawn.{modality}").items():
            _whole(count, f"drawn.{modality}.{source}", most=_MAX_DRAWN)
    _whole(state.get("bad_steps", 0), "bad_steps", most=_MAX_STEP)
    _require(isinstance(state.get("changes", []), list), "changes", "a list", state.get("changes"))
    for where, value in _tables(state, "resizes"):
        _one_of(value, where, tuple(ResizeMode))
    _table(_table(state["recipe"], "recipe").get("model", {}), "recipe.model")
    for file, digest in _table(state.get("sha256"), "sha256").items():
        _require(_FILE.fullmatch(file) is not None, "sha256", "names of files", file)
        _require(isinstance(digest, str) and _SHA256.fullmatch(digest) is not None, f"sha256.{file}", "hex", digest)


def check_policy(sampler: Json, statistics: Json, conventions: Json, *, max_steps: int) -> None:
    """Check what a policy reads in addition: the windows it was trained on, how it scales, and simulators' constants.

    Raises:
        ValueError: a value is missing or does not fit.
    """
    windows = _table(_table(sampler.get("fields"), "sampler.fields").get("windows"), "sampler.fields.windows")
    where, views = "sampler.fields.windows", windows.get("views")
    is_views = isinstance(views, list) and bool(views) and all(view in list(CameraRole) for view in views)
    _require(is_views, f"{where}.views", f"a list of {', '.join(CameraRole)}", views)
    _whole(windows.get("horizon"), f"{where}.horizon", least=1, most=min(max_steps, _MAX_HORIZON))
    if windows.get("chunk_s") is not None:
        _number(windows["chunk_s"], f"{where}.chunk_s", is_positive=True)
    _number(windows.get("frame_interval_s", 1.0), f"{where}.frame_interval_s", is_positive=True)
    _require(bool(statistics), "statistics", "at least one source", statistics)
    for source, file in statistics.items():
        _check_statistics(source, _table(file, f"statistics.{source}"))
    for source, constants in conventions.items():
        _check_convention(f"conventions.{source}", _table(constants, f"conventions.{source}"))


def _check_statistics(source: str, file: Mapping[str, Any]) -> None:
    where = f"statistics.{source}.source.{source}"
    vectors = _table(_table(file.get("source"), f"statistics.{source}.source").get(source), where)
    for vector, size in VECTOR_DIMS.items():
        if vectors.get(vector) is None:
            continue
        part = _table(vectors[vector], f"{where}.{vector}")
        for name in ("mean", "q01", "q99", "mask"):
            column, at = part.get(name), f"{where}.{vector}.{name}"
            _require(isinstance(column, list) and len(column) == size, at, f"a list of {size}", column)
            for value in column if isinstance(column, list) else ():
                if name == "mask":
                    _require(isinstance(value, bool), at, "true or false", value)
                elif value is not None:
                    _number(value, at)


def _check_convention(where: str, constants: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(Convention)}
    _require(set(constants) == known, where, f"the constants {', '.join(sorted(known))}", sorted(constants))
    _one_of(constants["turn"], f"{where}.turn", tuple(Turn))
    _one_of(constants["flip"], f"{where}.flip", tuple(Flip))
    for name in ("position_scale_m", "rotation_scale_rad", "limit"):
        _number(constants[name], f"{where}.{name}", is_positive=True)
    for name in ("gripper_open", "gripper_closed"):
        _number(constants[name], f"{where}.{name}")


def _tables(state: Mapping[str, object], name: str) -> Iterator[tuple[str, object]]:
    return ((f"{name}.{key}", value) for key, value in _table(state.get(name, {}), name).items())


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(_told(where, "a table", value))
    return value


def _text(value: object, where: str) -> None:
    _require(isinstance(value, str), where, "a text", value)


def _one_of(value: object, where: str, known: tuple[str, ...]) -> None:
    _require(isinstance(value, str) and value in known, where, " or ".join(known), value)


def _whole(value: object, where: str, *, most: int, least: int = 0) -> None:
    fits = type(value) is int and least <= value <= most
    _require(fits, where, f"a whole number from {least} to {most}", value)


def _number(value: object, where: str, *, is_positive: bool = False) -> None:
    fits = type(value) in (int, float) and math.isfinite(value) and (value > 0 or not is_positive)  # type: ignore[arg-type,operator]
    _require(fits, where, f"a finite number{' above 0' if is_positive else ''}", value)


def _require(fits: bool, where: str, wanted: str, found: object) -> None:  # noqa: FBT001 - a condition
    if not fits:
        raise ValueError(_told(where, wanted, found))


def _told(where: str, wanted: str, found: object) -> str:
    shown = repr(found)
    return f"{where}: expected {wanted}, got {shown if len(shown) <= 80 else f'{shown[:80]}...'}"
