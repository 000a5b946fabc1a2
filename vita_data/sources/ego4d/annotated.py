"""The annotated episodes of Ego4D: FHO actions or narrations of every video, with split and the reason to drop one.

The metadata and the annotation file of a raw tree come in; episodes by video come out, without reading any video.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from vita_data.sources.ego4d.catalogue import Packed, read_actions, read_narrations, unpack_actions, unpack_narrations
from vita_data.sources.ego4d.json_files import (
    FRAMES_PER_S,
    Ego4dVideo,
    FhoAction,
    Span,
    find_json,
    load_json,
    parse_clip_uids,
    parse_metadata,
)
from vita_data.sources.ego4d.narrations import narration_spans
from vita_data.types import RawTree, Reason, Split

METADATA = ("ego4d.json", "v2/ego4d.json")
ANNOTATIONS = "v2/annotations"
ACTIONS = (f"{ANNOTATIONS}/fho_main.json",)
NARRATIONS = (f"{ANNOTATIONS}/narration.json", f"{ANNOTATIONS}/all_narrations_redacted.json")
MULTI = "multi"
"""Split of a video whose clips are in several splits."""
_CLIP_SPLITS = (Split.TRAIN, Split.VAL)


class Mode(StrEnum):
    """What a raw episode is: the window of an FHO action, or an interval around a narration."""

    FHO_WINDOW = "fho_window"
    NARRATION = "narration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the annotations exclude an episode."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedEpisode:
    """One raw episode: an FHO action or a narration."""

    id: str
    span: Span | None
    text: str
    record: str
    split: Split | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The packed annotations of every annotated video that is not FHO test."""

    videos: Mapping[str, Ego4dVideo]
    packed: Mapping[str, Packed]
    unpack: "_Unpack"

    def items(self, uid: str) -> tuple[AnnotatedEpisode, ...]:
        """Return the raw episodes of one video, in the order of their starts."""
        split_fho = self.videos[uid].split_fho if uid in self.videos else None
        return _in_order([_with_split(item, split_fho) for item in self.unpack(uid, self.packed[uid])])


_Unpack = Callable[[str, Packed], list[AnnotatedEpisode]]
"""Makes the episodes of one video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The key of a catalogue: settings and files; a file that was fetched again counts as another one by its size."""

    root: str
    mode: Mode
    min_frames: int
    metadata: str
    annotations: str
    file_bytes: tuple[tuple[str, int], ...]


_LAST: dict[_Request, Catalogue] = {}
"""The last catalogue: a worker needs it for each of thousands of videos, each time with a new raw tree, and reading a
gigabyte of annotations takes most of a minute."""


def catalogue_of(raw: RawTree, *, mode: Mode, min_frames: int) -> Catalogue:
    """Read the annotations of a raw tree, or take those that were read last.

    Raises:
        RequestError: no metadata or annotations, or a JSON file of another shape.
    """
    asked = _request(raw, mode, min_frames)
    if asked not in _LAST:
        # remove the old one first, so that there are never two in memory
        _LAST.clear()
        _LAST[asked] = _read_catalogue(raw, asked)
    return _LAST[asked]


def _request(raw: RawTree, mode: Mode, min_frames: int) -> _Request:
    is_fho = mode is Mode.FHO_WINDOW
    wanted, others = (ACTIONS, NARRATIONS) if is_fho else (NARRATIONS, ACTIONS)
    other_mode = Mode.NARRATION if is_fho else Mode.FHO_WINDOW
    metadata = find_json(raw, METADATA)
    annotations = find_json(raw, wanted, others=dict.fromkeys(others, f"mode={other_mode}"))
    split_files = [path for split in _CLIP_SPLITS for path in _split_files(raw, split)] if is_fho else []
    return _Request(
        root=raw.root,
        mode=mode,
        min_frames=min_frames,
        metadata=metadata,
        annotations=annotations,
        file_bytes=tuple((path, raw.size(path)) for path in (metadata, annotations, *split_files)),
    )


def _read_catalogue(raw: RawTree, asked: _Request) -> Catalogue:
    videos = load_json(raw, asked.metadata, parse_metadata)
    is_fho = asked.mode is Mode.FHO_WINDOW
    packed, unpack = _read_actions(raw, asked, videos) if is_fho else _read_narrations(raw, asked)
    return Catalogue(
        videos=videos,
        packed={
            uid: of_video
            for uid, of_video in packed.items()
            if of_video.num_rows and not (uid in videos and videos[uid].split_fho == "test")
        },
        unpack=unpack,
    )


def _in_order(items: Sequence[AnnotatedEpisode]) -> tuple[AnnotatedEpisode, ...]:
    """Sort by start, after giving records with duplicate uids their own names."""
    seen: dict[str, int] = {}
    named = []
    for item in items:
        seen[item.id] = seen.get(item.id, 0) + 1
        named.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}~{seen[item.id]}"))
    return tuple(sorted(named, key=lambda item: (item.span.start_s, item.span.end_s) if item.span else (-1.0, -1.0)))


def _with_split(item: AnnotatedEpisode, split_fho: str | None) -> AnnotatedEpisode:
    if split_fho in (Split.TRAIN, Split.VAL):
        return replace(item, split=Split(split_fho))
    if split_fho is None or item.split is not None or item.fault is not None:
        return item
    detail = f"split_fho is {split_fho} and no training or validation file names its clip"
    return replace(item, fault=Fault(reason=Reason.HELD_OUT, detail=detail))


def _read_actions(raw: RawTree, asked: _Request, videos: Mapping[str, Ego4dVideo]) -> tuple[dict[str, Packed], _Unpack]:
    has_multi = any(video.split_fho == MULTI for video in videos.values())
    clip_splits = _clip_splits(raw) if has_multi else {}
    return load_json(raw, asked.annotations, read_actions), partial(_action_items, clip_splits)


def _action_items(clip_splits: Mapping[str, Split], uid: str, packed: Packed) -> list[AnnotatedEpisode]:
    return [_action_item(uid, action, clip_splits) for action in unpack_actions(packed)]


def _action_item(uid: str, action: FhoAction, clip_splits: Mapping[str, Split]) -> AnnotatedEpisode:
    fault = Fault(reason=Reason.INVALID_ANNOTATION, detail=action.fault) if action.fault else None
    if action.is_withheld:
        fault = Fault(reason=Reason.REDACTED, detail="its interval is marked as redacted in the annotations")
    return AnnotatedEpisode(
        id=f"{uid}/{action.uid}",
        span=action.span,
        text=action.text,
        record=action.uid,
        split=clip_splits.get(action.clip_uid or ""),
        fault=fault,
    )


def _clip_splits(raw: RawTree) -> dict[str, Split]:
    """Map clips to their FHO split, for videos with clips of several splits; validation wins."""
    found: dict[str, Split] = {}
    for split in _CLIP_SPLITS:
        for path in _split_files(raw, split):
            found |= dict.fromkeys(load_json(raw, path, parse_clip_uids), split)
    return found


def _split_files(raw: RawTree, split: Split) -> list[str]:
    return raw.glob(f"{ANNOTATIONS}/fho_*_{split}.json")


def _read_narrations(raw: RawTree, asked: _Request) -> tuple[dict[str, Packed], _Unpack]:
    packed, alpha_s = load_json(raw, asked.annotations, read_narrations)
    return packed, partial(_narration_items, alpha_s, asked.min_frames / FRAMES_PER_S)


def _narration_items(alpha_s: float, min_s: float, uid: str, packed: Packed) -> list[AnnotatedEpisode]:
    narrations = unpack_narrations(packed)
    spans = narration_spans(narrations, alpha_s=alpha_s, min_s=min_s)
    return [
        AnnotatedEpisode(id=f"{uid}/{said.uid}", span=span, text=said.text, record=said.uid)
        for said, span in zip(narrations, spans, strict=True)
    ]
