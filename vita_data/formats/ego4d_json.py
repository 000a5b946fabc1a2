"""The JSON files of Ego4D as typed facts: metadata, FHO actions, narrations, clips of the FHO splits.

The files are of the order of a gigabyte, so they are read as streams, with one video in memory at a time. Fields as in
the owner's schemas (EGO4D/docs annotations-schemas.md). What is used and what is left out is the source's business;
nothing here drops a record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import ijson

from vita_data.errors import RequestError
from vita_data.types import RawTree

FRAMES_PER_S = 30.0
"""Rate of the canonical videos, in which all frame numbers count (EGO4D/docs videos.md)."""
_TIMELINES = ("narration_pass_1", "narration_pass_2")
_CHUNK_BYTES = 1 << 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open seconds of a video."""

    start_s: float
    end_s: float

    def overlaps(self, other: "Span") -> bool:
        """Tell whether a moment lies in both."""
        return self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Ego4dVideo:
    """What the metadata say of a video; splits are train, val, test, multi (several, by clip) or None."""

    split_fho: str | None
    other_splits: Mapping[str, str | None]
    is_stereo: bool
    redacted: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FhoAction:
    """One narrated action; `fault` says in words why the annotators ruled it out, empty if they did not."""

    uid: str
    span: Span | None
    text: str
    clip_uid: str | None
    is_withheld: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Narration:
    """One sentence about one moment; each of the two passes over a video is a `timeline` of its own.

    `place` is the moment as the file has it, in frames or, where there are none, in seconds.
    """

    timeline: str
    annotation_uid: str
    place: str
    time_s: float | None
    text: str

    @property
    def uid(self) -> str:
        """A name that is unique in the video.

        Assumes: `annotation_uid` names a whole pass of an annotator, so frame and pass are part of the name.
        """
        return f"{self.timeline}/{self.annotation_uid}-{self.place}"


def find_json(raw: RawTree, names: Sequence[str]) -> str:
    """Choose the first of `names` that is there.

    Raises:
        RequestError: none is there.
    """
    path = next((name for name in names if raw.exists(name)), None)
    if path is None:
        raise RequestError(f"--raw {raw.root}: no {' or '.join(names)}; --raw is the folder with v2 and ego4d.json")
    return path


def load_json(raw: RawTree, path: str, parse: Callable[[BinaryIO], _T]) -> _T:
    """Give an open file to one of the parsers, and name the file where it is not as they expect.

    Raises:
        RequestError: it is not JSON, or laid out in another way.
    """
    try:
        with raw.open(path) as file:
            return parse(file)
    except (ijson.JSONError, ValueError, TypeError, KeyError, AttributeError) as error:
        # the parser draws an arrow to the fault on lines of their own
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise RequestError(f"--raw {raw.root}: {path} is not as Ego4D's ({what}); fetch it again") from error


def parse_metadata(file: BinaryIO) -> dict[str, Ego4dVideo]:
    """Map video uid to its facts.

    Assumes: a redacted interval that tells neither frames nor seconds may be anywhere in the video.
    """
    always = Span(start_s=0.0, end_s=float("inf"))
    return {
        str(video["video_uid"]): Ego4dVideo(
            split_fho=video.get("split_fho"),
            other_splits={
                key: split for key, split in video.items() if key.startswith("split_") and key != "split_fho"
            },
            is_stereo=bool(video.get("is_stereo")),
            redacted=tuple(_span(hidden) or always for hidden in video.get("redacted_intervals") or ()),
        )
        for video in _listed_videos(file)
    }


def parse_actions(file: BinaryIO) -> Iterator[tuple[str, list[FhoAction]]]:
    """Yield each video's uid and FHO actions, in file order; actions without a uid are named by annotation and frame.

    Where a uid comes twice, the later one counts.
    """
    for video in _listed_videos(file):
        yield str(video["video_uid"]), list(_actions(video))


def parse_narrations(file: BinaryIO) -> Iterator[tuple[str, list[Narration]]]:
    """Yield each video's uid and narrations, in file order; a pass may be absent.

    Videos are an object or a list, under a `videos` key or, as an object, the whole file. Where a uid comes twice, the
    later one counts.
    """
    place = _place_of_narrated(file)
    if place.endswith(".item"):
        for video in _items(file, place):
            yield str(video["video_uid"]), list(_narrations(video))
    else:
        for uid, video in ijson.kvitems(file, place, use_float=True, buf_size=_CHUNK_BYTES):
            yield uid, list(_narrations(video))


def parse_clip_uids(file: BinaryIO) -> set[str]:
    """List the clips of one `fho_<task>_<split>.json`, of which the short-term task calls its items annotations."""
    _require_object(_events(file))
    for key in ("clips", "annotations"):
        file.seek(0)
        found = [item["clip_uid"] for item in _items(file, f"{key}.item")]
        if found:
            return {str(uid) for uid in found if uid}
    return set()


def _items(file: BinaryIO, place: str) -> Iterator[Any]:
    return iter(ijson.items(file, place, use_float=True, buf_size=_CHUNK_BYTES))


def _events(file: BinaryIO) -> Iterator[tuple[str, str, Any]]:
    return iter(ijson.parse(file, use_float=True, buf_size=_CHUNK_BYTES))


def _require_object(events: Iterator[tuple[str, str, Any]]) -> None:
    if next(events)[1] != "start_map":
        raise TypeError("no object")


def _listed_videos(file: BinaryIO) -> Iterator[Any]:
    # a stream of the items of a list is empty where there is no list
    events = _events(file)
    _require_object(events)
    kind = next((event for place, event, _ in events if place == "videos"), None)
    if kind != "start_array":
        raise TypeError("no list of videos")
    file.seek(0)
    return _items(file, "videos.item")


def _place_of_narrated(file: BinaryIO) -> str:
    """Find where the videos are, reading no farther than to the first of them that has narrations."""
    events = _events(file)
    _require_object(events)
    found = ""
    for place, event, value in events:
        if place == "videos":
            if event not in ("start_map", "start_array"):
                raise TypeError("videos are neither an object nor a list")
            found = "videos.item" if event == "start_array" else "videos"
            break
        if event == "map_key" and value in _TIMELINES:
            break
    file.seek(0)
    return found


def _actions(video: Any) -> Iterator[FhoAction]:
    for interval in video["annotated_intervals"]:
        for action in interval.get("narrated_actions") or ():
            place = action.get("start_frame", action.get("start_sec"))
            yield FhoAction(
                uid=str(action.get("uid") or f"{action.get('narration_annotation_uid')}-{place}"),
                span=_span(action),
                text=action.get("narration_text") or "",
                clip_uid=interval.get("clip_uid"),
                is_withheld=bool(interval.get("redacted")),
                fault=_action_fault(action),
            )


def _action_fault(action: Any) -> str:
    if action.get("is_rejected"):
        return f"rejected: {action.get('reject_reason') or 'no reason given'}"
    if action.get("is_invalid_annotation"):
        return "marked as invalid annotation"
    return "marked as no valid action" if action.get("is_valid_action") is False else ""


def _narrations(video: Any) -> Iterator[Narration]:
    for timeline in _TIMELINES:
        for item in (video.get(timeline) or {}).get("narrations") or ():
            seconds, frame = item.get("timestamp_sec"), item.get("timestamp_frame")
            if seconds is None and frame is not None:
                seconds = frame / FRAMES_PER_S
            place = frame if frame is not None else seconds
            yield Narration(
                timeline=timeline,
                annotation_uid=str(item.get("annotation_uid")),
                place=str(place),
                time_s=None if seconds is None else float(seconds),
                text=item.get("narration_text") or "",
            )


def _span(record: Mapping[str, float | None]) -> Span | None:
    """Read frames or, where there are none, seconds."""
    for start, end, per_s in (("start_frame", "end_frame", FRAMES_PER_S), ("start_sec", "end_sec", 1.0)):
        first, last = record.get(start), record.get(end)
        if first is not None and last is not None:
            return Span(start_s=first / per_s, end_s=last / per_s)
    return None
