"""Parses the JSON files of Ego4D into typed facts: metadata, FHO actions, narrations, clips of the FHO splits.

The files are about a gigabyte, so they are read as streams, with one video in memory at a time. Fields are those of
the owner's schemas (EGO4D/docs annotations-schemas.md). The source decides what is used; nothing is dropped here.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

import ijson

from vita_data.errors import RequestError, raise_machine_fault
from vita_data.formats.json_text import ShallowJson
from vita_data.formats.raw_tree.file_head import FETCH_AGAIN, unreadable_text
from vita_data.types import RawTree

FRAMES_PER_S = 30.0
"""Rate of the canonical videos, which all frame numbers refer to (EGO4D/docs videos.md)."""
_PASS = re.compile(r"narration_pass_\d+")
_FLAT = "narrations"
_ODD_VIDEO: Mapping[str, Any] = {_FLAT: (None,)}
"""Stands for a video whose entry is not an object: one narration without a time, which the source drops."""
_CHUNK_BYTES = 1 << 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range of a video in seconds."""

    start_s: float
    end_s: float

    def overlaps(self, other: "Span") -> bool:
        """Tell whether the ranges overlap."""
        return self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Ego4dVideo:
    """The metadata of a video; splits are train, val, test, multi (several, by clip) or None."""

    split_fho: str | None
    other_splits: Mapping[str, str | None]
    is_stereo: bool
    redacted: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FhoAction:
    """One narrated action; `fault` explains why the annotators rejected it, and is empty if they did not."""

    uid: str
    span: Span | None
    text: str
    clip_uid: str | None
    is_withheld: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Narration:
    """One sentence about one moment of a video.

    `timeline` is the key that lists it in the file: one of the passes over a video, or `narrations` if all passes are
    in one list. `place` is the moment as in the file: in frames if available, else in seconds.
    """

    timeline: str
    annotation_uid: str
    place: str
    time_s: float | None
    text: str

    @property
    def uid(self) -> str:
        """An id that is unique in the video.

        Assumes: `annotation_uid` names a whole pass of an annotator, so frame and pass are part of the name.
        """
        return f"{self.timeline}/{self.annotation_uid}-{self.place}"

    @property
    def annotator_pass(self) -> str:
        """The annotator's pass that it belongs to.

        Source: showlab/videollm-online (data/ego4d/narration.py) separates the passes of one list by annotation.
        """
        return self.annotation_uid if self.timeline == _FLAT else self.timeline


def find_json(raw: RawTree, names: Sequence[str], *, others: Mapping[str, str] = MappingProxyType({})) -> str:
    """Choose the first of `names` that exists.

    Args:
        raw: the raw tree.
        names: paths in the tree.
        others: the setting that reads each of these other paths, for the message.

    Raises:
        RequestError: none exists.
    """
    path = next((name for name in names if raw.exists(name)), None)
    if path is None:
        advice = [f"found {path}, which --set {key} reads" for path, key in others.items() if raw.exists(path)]
        advice = advice or ["give the folder that contains v2 and ego4d.json"]
        raise RequestError(f"--raw {raw.root}: {' or '.join(names)} not found; {advice[0]}")
    return path


def load_json(raw: RawTree, path: str, parse: Callable[[BinaryIO], _T]) -> _T:
    """Open a file and pass it to a parser; errors name the file.

    Raises:
        RequestError: the file cannot be opened, is not JSON, or has another layout.
        StorageError: the machine is to blame.
    """
    try:
        with raw.open(path) as file:
            return parse(file)
    except (OSError, ijson.JSONError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise_machine_fault(error, path)
        is_other = not isinstance(error, OSError | ijson.JSONError | UnicodeError)
        advice = "use the file from Ego4D's own release" if is_other else FETCH_AGAIN
        what = unreadable_text(raw, path, reason=_reason(error), advice=advice)
        raise RequestError(f"--raw {raw.root}: {path} is not a valid Ego4D file {what}") from error


def _reason(error: Exception) -> str:
    """Describe the error in one line; the parser's text has extra lines with an arrow, sometimes as bytes."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    return f"{type(error).__name__}: {text.partition(chr(10))[0]}"


def parse_metadata(file: BinaryIO) -> dict[str, Ego4dVideo]:
    """Map video uids to their facts; an invalid entry is omitted, so that its video is not used.

    Raises:
        ValueError: there are entries, and all are invalid.

    Assumes: a redacted interval without frames and seconds may be anywhere in the video.
    """
    found: dict[str, Ego4dVideo] = {}
    fault: Exception | None = None
    for video in _listed_videos(file):
        try:
            found[str(video["video_uid"])] = _video(video)
        except (TypeError, KeyError, AttributeError) as error:
            fault = error
    if fault is not None and not found:
        raise ValueError(
            f"expected at least one valid entry of a video; the first error is {type(fault).__name__}: {fault}"
        )
    return found


def parse_actions(file: BinaryIO) -> Iterator[tuple[str, list[FhoAction]]]:
    """Yield each video's uid and FHO actions, in file order; actions without a uid get one from annotation and frame.

    For a duplicate uid, the later entry counts. An invalid entry gets one action without a time; an entry without a uid
    is named by its position in the list.

    Raises:
        ValueError: there are entries, and none has a uid.
    """
    yield from ((uid, list(_actions(video))) for uid, video in _named(_listed_videos(file)))


def parse_narrations(file: BinaryIO) -> Iterator[tuple[str, list[Narration]]]:
    """Yield each video's uid and narrations, in file order, in both forms, detected from the content.

    `narration_pass_N.narrations[{timestamp_sec, timestamp_frame, narration_text, annotation_uid}]`, as in the release's
    `narration.json`, or `narrations[{time, text, _annotation_uid}]`, as in its `all_narrations_redacted.json`; a video
    may have neither. The videos are an object or a list with the key `videos`, or the whole file is an object of
    videos. For a duplicate uid, the later entry counts.

    Raises:
        ValueError: no video has a narration in one of these forms.

    Source: EGO4D annotations-schemas.md; for the second form showlab/videollm-online (data/ego4d/narration.py).
    """
    keys: dict[str, str] = {}
    has_any = False
    for uid, found in _narrated_videos(file):
        video = _ODD_VIDEO if not isinstance(found, Mapping | None) else found or {}
        lists = [_listed_narrations(video, timeline) for timeline in _timelines(video)]
        has_any |= any(isinstance(found, list) and bool(found) for found in lists) and video is not _ODD_VIDEO
        keys |= {str(key): type(value).__name__ for key, value in video.items()}
        yield uid, list(_narrations(video))
    if not has_any:
        found = ", ".join(f"{key} ({kind})" for key, kind in sorted(keys.items())) or "nothing"
        raise ValueError(f"expected lists of narrations in {_FLAT} or narration_pass_N of videos, got {found}")


def parse_clip_uids(file: BinaryIO) -> set[str]:
    """List the clips of one `fho_<task>_<split>.json`, whose items are called annotations in the short-term task."""
    _require_object(_events(file))
    for key in ("clips", "annotations"):
        file.seek(0)
        found = [item["clip_uid"] for item in _items(file, f"{key}.item")]
        if found:
            return {str(uid) for uid in found if uid}
    return set()


def _named(videos: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    number, has_uid = -1, False
    for number, video in enumerate(videos):
        uid = video.get("video_uid") if isinstance(video, Mapping) else None
        has_uid |= bool(uid)
        yield str(uid or f"entry-{number:06d}"), video
    if number >= 0 and not has_uid:
        raise ValueError("expected entries with a video_uid")


def _video(video: Any) -> Ego4dVideo:
    always = Span(start_s=0.0, end_s=float("inf"))
    return Ego4dVideo(
        split_fho=video.get("split_fho"),
        other_splits={key: split for key, split in video.items() if key.startswith("split_") and key != "split_fho"},
        is_stereo=bool(video.get("is_stereo")),
        redacted=tuple(_span(hidden) or always for hidden in video.get("redacted_intervals") or ()),
    )


def _items(file: BinaryIO, place: str) -> Iterator[Any]:
    return iter(ijson.items(ShallowJson(file), place, use_float=True, buf_size=_CHUNK_BYTES))


def _events(file: BinaryIO) -> Iterator[tuple[str, str, Any]]:
    return iter(ijson.parse(ShallowJson(file), use_float=True, buf_size=_CHUNK_BYTES))


def _require_object(events: Iterator[tuple[str, str, Any]]) -> None:
    if next(events)[1] != "start_map":
        raise TypeError("expected a JSON object as the file's content")


def _listed_videos(file: BinaryIO) -> Iterator[Any]:
    # the stream of a list's items is empty if the list is missing
    events = _events(file)
    _require_object(events)
    kind = next((event for place, event, _ in events if place == "videos"), None)
    if kind != "start_array":
        raise TypeError("expected a list of videos")
    file.seek(0)
    return _items(file, "videos.item")


def _narrated_videos(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    place = _place_of_narrated(file)
    if place.endswith(".item"):
        yield from _named(_items(file, place))
    else:
        yield from ijson.kvitems(ShallowJson(file), place, use_float=True, buf_size=_CHUNK_BYTES)


def _place_of_narrated(file: BinaryIO) -> str:
    """Find the place of the videos in the file, reading only up to the first one with a list of narrations."""
    events = _events(file)
    _require_object(events)
    found = ""
    for place, event, _ in events:
        if place == "videos":
            if event not in ("start_map", "start_array"):
                raise TypeError("expected an object or a list of videos")
            found = "videos.item" if event == "start_array" else "videos"
            break
        key = place.rpartition(".")[2]
        if (event == "start_map" and _PASS.fullmatch(key)) or (event == "start_array" and key == _FLAT):
            break
    file.seek(0)
    return found


def _actions(video: Any) -> Iterator[FhoAction]:
    for found in _list(video.get("annotated_intervals") if isinstance(video, Mapping) else None):
        interval = found if isinstance(found, Mapping) else {"narrated_actions": [None]}
        for item in _list(interval.get("narrated_actions") or ()):
            action = item if isinstance(item, Mapping) else {}  # without a time, the source drops it
            place = action.get("start_frame", action.get("start_sec"))
            yield FhoAction(
                uid=str(action.get("uid") or f"{action.get('narration_annotation_uid')}-{place}"),
                span=_span(action),
                text=_text(action.get("narration_text")),
                clip_uid=_text(interval.get("clip_uid")) or None,
                is_withheld=bool(interval.get("redacted")),
                fault=_action_fault(action),
            )


def _list(value: Any) -> Sequence[Any]:
    """Return a list; anything else becomes one invalid item, so that the source drops it visibly."""
    return value if isinstance(value, list | tuple) else (None,)


def _action_fault(action: Any) -> str:
    if action.get("is_rejected"):
        return f"rejected: {action.get('reject_reason') or 'no reason given'}"
    if action.get("is_invalid_annotation"):
        return "marked as invalid annotation"
    return "marked as no valid action" if action.get("is_valid_action") is False else ""


def _narrations(video: Any) -> Iterator[Narration]:
    for timeline in _timelines(video):
        for item in _list(_listed_narrations(video, timeline) or ()):
            yield _narration(timeline, item if isinstance(item, Mapping) else {})


def _timelines(video: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in video if key == _FLAT or _PASS.fullmatch(key))


def _listed_narrations(video: Mapping[str, Any], timeline: str) -> Any:
    found = video[timeline]
    return found.get(_FLAT) if isinstance(found, Mapping) and timeline != _FLAT else found


def _narration(timeline: str, item: Mapping[str, Any]) -> Narration:
    """Read an item of either form; one without a time keeps its position in the list, and the source drops it."""
    frame, seconds = item.get("timestamp_frame"), item.get("timestamp_sec", item.get("time"))
    frame_s = _number(frame, per_s=FRAMES_PER_S)
    return Narration(
        timeline=timeline,
        annotation_uid=str(item.get("annotation_uid", item.get("_annotation_uid"))),
        place=str(next((place for place in (frame, seconds) if place is not None), None)),
        time_s=_number(seconds, per_s=1.0) if seconds is not None else frame_s,
        text=_text(item.get("narration_text", item.get("text"))),
    )


def _span(record: Mapping[str, Any]) -> Span | None:
    """Read frames or, if missing, seconds."""
    for start, end, per_s in (("start_frame", "end_frame", FRAMES_PER_S), ("start_sec", "end_sec", 1.0)):
        start_s, end_s = _number(record.get(start), per_s=per_s), _number(record.get(end), per_s=per_s)
        if start_s is not None and end_s is not None:
            return Span(start_s=start_s, end_s=end_s)
    return None


def _number(value: Any, *, per_s: float) -> float | None:
    """Convert frames or seconds to seconds; None if the value is not a number."""
    try:
        seconds = float(value) / per_s
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
