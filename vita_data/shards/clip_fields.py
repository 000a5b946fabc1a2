"""What each field of clip.json may contain; its bytes may come from a stranger, with right sums."""

import json
import reprlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from vita_data import SCHEMA_VERSION
from vita_data.config.checks import is_whole
from vita_data.shards.field_checks import Check, is_flag, is_rate, is_text, list_of, one_of, or_none, record
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import ActionOrigin, Arms, CameraRole, Gaps, Modality, Split

CLIP_JSON = "clip.json"
DEPTH = "depth_"
"""Begins the names of a camera's depth images, among those of its images."""
CAMERAS = frozenset(name for role in CameraRole for name in (str(role), f"{DEPTH}{role}"))
LEAST_HZ, MOST_HZ = 1e-6, 1e6
"""Rates of a clip: eleven days or a microsecond from one step to the next."""
_MOST = 1 << 30


def parse_clip(data: bytes) -> Mapping[str, Any]:
    """Parse clip.json.

    Raises:
        ValueError: it is not such a file; names the first field that is missing or has an unexpected value.
    """
    try:
        meta = json.loads(data)
    except RecursionError:
        raise ValueError(f"{CLIP_JSON} has values nested too deeply") from None
    if fault := _fault(meta):
        raise ValueError(f"{CLIP_JSON} has {fault}")
    return dict(meta)


def _fault(meta: object) -> str:
    if not isinstance(meta, Mapping):
        return f"a {type(meta).__name__} instead of an object"
    for name, check in _FIELDS.items():
        if name not in meta:
            return f"no field {name!r}"
        if not check(meta[name]):
            return f"{name} {reprlib.repr(meta[name])}"
    return _rows_fault(meta)


def _rows_fault(meta: Mapping[str, Any]) -> str:
    """Describe the first field whose rows do not fit the clip."""
    num_steps, frames, valid = meta["num_steps"], meta["frames"], meta["action_valid"]
    if len(meta["step_index"]) != num_steps:
        return f"{len(meta['step_index'])} steps in step_index, expected {num_steps}"
    lists = {"keyframes": meta["keyframes"], **{f"frames of {name}": rows for name, rows in frames.items()}}
    for name, rows in lists.items():
        if rows and rows[-1] >= num_steps:
            return f"{name} with row {rows[-1]} of {num_steps}"
    if valid and valid[-1][1] > num_steps:
        return f"action_valid to row {valid[-1][1]} of {num_steps}"
    return ""


def _is_rising(value: object) -> bool:
    """Tell whether a value is a list of whole numbers from zero, each greater than the one before."""
    if not isinstance(value, list) or {*map(type, value)} - {int}:
        return False
    return not value or (value[0] >= 0 and value[-1] <= _MOST and all(a < b for a, b in pairwise(value)))


def _are_spans(value: object) -> bool:
    """Tell whether a value is a list of rows, from and to, one span after another."""
    if not isinstance(value, list) or not all(isinstance(span, list) and len(span) == 2 for span in value):
        return False
    ends = [end for span in value for end in span]
    return not {*map(type, ends)} - {int} and all(a <= b for a, b in pairwise([0, *ends, _MOST]))


def _mask_of(num_columns: int) -> Check:
    return or_none(lambda value: list_of(is_flag)(value) and len(value) == num_columns)  # type: ignore[arg-type]


def _are_frames(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() <= CAMERAS and all(map(_is_rising, value.values()))


def _is_utf8(value: object) -> bool:
    """Tell whether a value is a text that UTF-8 can hold, as names in clip.json are; instructions may be others."""
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


_TEXT = record({"text": is_text, "origin": is_text})
_FIELDS: Mapping[str, Check] = {
    "schema_version": lambda value: type(value) is int and value == SCHEMA_VERSION,
    "source": _is_utf8,
    "release": _is_utf8,
    "episode": _is_utf8,
    "split": one_of(Split),
    "modality": one_of(Modality),
    "embodiment": _is_utf8,
    "arms": one_of(Arms),
    "hz": lambda value: is_rate(value) and LEAST_HZ <= value <= MOST_HZ,  # type: ignore[operator]
    "stride": lambda value: is_whole(value, least=1, most=_MOST),
    "num_steps": lambda value: is_whole(value, least=1, most=_MOST),
    "step_index": _is_rising,
    "frames": _are_frames,
    "keyframes": _is_rising,
    "instruction": _TEXT,
    "instructions": list_of(_TEXT),
    "action_mask": _mask_of(ACTION_DIM),
    "action_valid": or_none(_are_spans),
    "action_origin": or_none(one_of(ActionOrigin)),
    "state_mask": _mask_of(STATE_DIM),
    "gaps": one_of(Gaps),
    "provenance": _is_object,
    "extras": _is_object,
}
