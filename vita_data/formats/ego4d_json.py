"""The JSON files of Ego4D as typed facts: metadata, FHO actions, narrations, clips of the FHO splits.

Fields as in the owner's schemas (EGO4D/docs annotations-schemas.md). What is used and what is left out is the source's
business; nothing here drops a record.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vita_data.errors import RequestError
from vita_data.types import RawTree

FRAMES_PER_S = 30.0
"""Rate of the canonical videos, in which all frame numbers count (EGO4D/docs videos.md)."""
_TIMELINES = ("narration_pass_1", "narration_pass_2")

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
    """One sentence about one moment; each of the two passes over a video is a `timeline` of its own."""

    uid: str
    time_s: float | None
    text: str
    timeline: str


def load_json(raw: RawTree, names: Sequence[str], parse: Callable[[Any], _T]) -> _T:
    """Read the first of `names` that is there.

    Raises:
        RequestError: none is there, or it is laid out in another way.
    """
    path = next((name for name in names if raw.exists(name)), None)
    if path is None:
        raise RequestError(f"--raw {raw.root}: no {' or '.join(names)}; --raw is the folder with v2 and ego4d.json")
    try:
        return parse(json.loads(raw.read_bytes(path)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"--raw {raw.root}: {path} is not as Ego4D's ({error!r}); fetch it again") from error


def parse_metadata(found: Any) -> dict[str, Ego4dVideo]:
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
        for video in found["videos"]
    }


def parse_actions(found: Any) -> dict[str, list[FhoAction]]:
    """Map video uid to its FHO actions, in file order; actions without a uid are named by annotation and frame."""
    return {str(video["video_uid"]): list(_actions(video)) for video in found["videos"]}


def parse_narrations(found: Any) -> dict[str, list[Narration]]:
    """Map video uid to its narrations in file order, with or without a `videos` key on top; a pass may be absent.

    Assumes: `annotation_uid` names a whole pass of an annotator, so frame and pass are part of a narration's uid.
    """
    videos = found.get("videos", found)
    if not isinstance(videos, dict):
        videos = {video["video_uid"]: video for video in videos}
    return {str(uid): list(_narrations(video)) for uid, video in videos.items()}


def parse_clip_uids(found: Any) -> set[str]:
    """List the clips of one `fho_<task>_<split>.json`, of which the short-term task calls its items annotations."""
    return {str(item["clip_uid"]) for item in found.get("clips") or found.get("annotations") or () if item["clip_uid"]}


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
                uid=f"{timeline}/{item.get('annotation_uid')}-{place}",
                time_s=None if seconds is None else float(seconds),
                text=item.get("narration_text") or "",
                timeline=timeline,
            )


def _span(record: Mapping[str, float | None]) -> Span | None:
    """Read frames or, where there are none, seconds."""
    for start, end, per_s in (("start_frame", "end_frame", FRAMES_PER_S), ("start_sec", "end_sec", 1.0)):
        first, last = record.get(start), record.get(end)
        if first is not None and last is not None:
            return Span(start_s=first / per_s, end_s=last / per_s)
    return None
