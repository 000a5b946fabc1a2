"""What each field of a card may contain: an unknown or missing one is refused, and never replaced by a default."""

import re
import reprlib
from collections.abc import Mapping
from enum import StrEnum

from vita_data import SCHEMA_VERSION
from vita_data.config.checks import is_whole
from vita_data.shards.field_checks import (
    Check,
    is_count,
    is_flag,
    is_name,
    is_rate,
    is_text,
    list_of,
    one_of,
    or_none,
    record,
    table,
)
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


def _is_file_name(value: object) -> bool:
    """Tell whether a folder or file may be named so."""
    return isinstance(value, str) and value.isprintable() and value not in ("", ".", "..") and not {*value} & {*"/\\"}


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_shard(value: object) -> bool:
    return isinstance(value, str) and _SHARD.fullmatch(value) is not None


def _is_settings(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("resize") in list(ResizeMode)


def _some_of(kind: type[StrEnum]) -> Check:
    return lambda value: isinstance(value, str) and all(one in list(kind) for one in value.split(AND))


_COUNTS = record(dict.fromkeys(("episodes", "clips", "steps", "frames"), is_count))
_ENTRY = record(
    {
        "name": _is_shard,
        "num_clips": is_count,
        "num_bytes": is_count,
        "sha256": _is_sha256,
        "index_sha256": _is_sha256,
    }
)
_FIELDS: Mapping[str, Check] = {
    "schema_version": lambda value: type(value) is int and value == SCHEMA_VERSION,
    "source": _is_file_name,
    "title": is_text,
    "release": list_of(is_text),
    "embodiment": list_of(is_text),
    "arms": _some_of(Arms),
    "hz": or_none(is_rate),
    "stride": or_none(lambda value: is_whole(value, least=1)),
    "cameras": table(one_of(CameraRole), is_text),
    "action_origin": or_none(_some_of(ActionOrigin)),
    "action_space": is_text,
    "licence": is_text,
    "redistributable": is_flag,
    "url": is_text,
    "notes": list_of(is_text),
    "outcomes": table(one_of(EpisodeOutcome), is_count),
    "drops": table(one_of(Reason), is_count),
    "counts": record({split: table(one_of(Modality), _COUNTS) for split in Split}),
    "shards": record({split: list_of(_ENTRY) for split in Split}),
    "frames": one_of(FrameSelection),
    "limit": or_none(is_count),
    "settings": _is_settings,
    "versions": table(is_text, is_text),
    "config_hash": _is_sha256,
    SUMS: table(is_name, _is_sha256),
    MERGED: list_of(lambda value: isinstance(value, Mapping)),
    SUM: _is_sha256,
}
