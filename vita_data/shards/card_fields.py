"""What each field of a card may contain: an unknown or missing one is refused, and never replaced by a default."""

import re
import reprlib
from collections.abc import Callable, Mapping
from enum import StrEnum

from vita_data import SCHEMA_VERSION
from vita_data.config.checks import is_finite, is_whole
from vita_data.shards.sums import SUM
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    EpisodeOutcome,
    FrameSelection,
    Json,
    Modality,
    Reason,
    ResizeMode,
    Split,
)

MERGED = "merged"
"""Field of a merged source's card: what was merged."""
SUMS = "sums"
AND = " and "
"""Joins the values of several sources in a merged card."""

_Check = Callable[[object], bool]
_SHARD = re.compile(r"[^/\\]+\.tar")


def card_fault(card: Json) -> str:
    """Describe the first field that is missing, unknown or has an unexpected value; empty if all are as expected."""
    for name in sorted(_FIELDS.keys() | card.keys()):
        if name not in _FIELDS:
            return f"the unknown field {reprlib.repr(name)}"
        if name not in card and name not in (MERGED, SUM):
            return f"no field {name!r}"
        if name in card and not _FIELDS[name](card[name]):
            return f"{name} {reprlib.repr(card[name])}"
    return ""


def settings_of(card: Json) -> Json:
    """Return the settings that a source was built with."""
    settings = card["settings"]
    if not isinstance(settings, Mapping):
        raise TypeError(f"settings on the card are {settings!r}")
    return settings


def resize_of(card: Json) -> ResizeMode:
    """Return how a source's images were made square."""
    return ResizeMode(str(settings_of(card)["resize"]))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_file_name(value: object) -> bool:
    """Tell whether a folder or file may be named so."""
    return isinstance(value, str) and value.isprintable() and value not in ("", ".", "..") and not {*value} & {*"/\\"}


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return is_whole(value, least=0)


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and is_finite(value) and value > 0


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_shard(value: object) -> bool:
    return isinstance(value, str) and _SHARD.fullmatch(value) is not None


def _is_settings(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("resize") in list(ResizeMode)


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _one_of(kind: type[StrEnum]) -> _Check:
    return lambda value: value in list(kind)


def _some_of(kind: type[StrEnum]) -> _Check:
    return lambda value: isinstance(value, str) and all(one in list(kind) for one in value.split(AND))


def _list_of(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table(keys: _Check, values: _Check) -> _Check:
    return lambda value: isinstance(value, Mapping) and all(map(keys, value)) and all(map(values, value.values()))


def _record(fields: Mapping[str, _Check]) -> _Check:
    return lambda value: (
        isinstance(value, Mapping)
        and value.keys() == fields.keys()
        and all(check(value[name]) for name, check in fields.items())
    )


_COUNTS = _record(dict.fromkeys(("episodes", "clips", "steps", "frames"), _is_count))
_ENTRY = _record(
    {
        "name": _is_shard,
        "num_clips": _is_count,
        "num_bytes": _is_count,
        "sha256": _is_sha256,
        "index_sha256": _is_sha256,
    }
)
_FIELDS: Mapping[str, _Check] = {
    "schema_version": lambda value: type(value) is int and value == SCHEMA_VERSION,
    "source": _is_file_name,
    "title": _is_text,
    "release": _list_of(_is_text),
    "embodiment": _list_of(_is_text),
    "arms": _some_of(Arms),
    "hz": _or_none(_is_rate),
    "stride": _or_none(lambda value: is_whole(value, least=1)),
    "cameras": _table(_one_of(CameraRole), _is_text),
    "action_origin": _or_none(_some_of(ActionOrigin)),
    "action_space": _is_text,
    "licence": _is_text,
    "redistributable": _is_flag,
    "url": _is_text,
    "notes": _list_of(_is_text),
    "outcomes": _table(_one_of(EpisodeOutcome), _is_count),
    "drops": _table(_one_of(Reason), _is_count),
    "counts": _record({split: _table(_one_of(Modality), _COUNTS) for split in Split}),
    "shards": _record({split: _list_of(_ENTRY) for split in Split}),
    "frames": _one_of(FrameSelection),
    "limit": _or_none(_is_count),
    "settings": _is_settings,
    "versions": _table(_is_text, _is_text),
    "config_hash": _is_sha256,
    SUMS: _table(_is_name, _is_sha256),
    MERGED: _list_of(lambda value: isinstance(value, Mapping)),
    SUM: _is_sha256,
}
