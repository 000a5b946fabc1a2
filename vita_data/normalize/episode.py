"""Normalizes one episode: text, length, vectors, validity, 600 s cuts, keyframes, images.

Cheap checks of the whole episode come before any image is read.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from vita_data.normalize.images import (
    SquareFrame,
    UndecodableFrameError,
    is_black,
    is_black_jpeg,
    square_depth,
    store_frame,
)
from vita_data.normalize.keyframes import keyframe_rows, native_stride
from vita_data.normalize.spool import Spool
from vita_data.normalize.text import choose_main, find_main, text_fault
from vita_data.normalize.vectors import action_track, is_finite, row_ranges, state_track, valid_rows
from vita_data.types import (
    IMAGE_SIZE,
    MAX_CLIP_S,
    Bool,
    CameraRole,
    Clip,
    Drop,
    Episode,
    Float32,
    FrameSelection,
    Instruction,
    Int64,
    Modality,
    Reason,
    SourceInfo,
    SourceSettings,
    Split,
    StoredDepth,
    StoredFrame,
    Track,
    UnifiedAction,
)

_MAX_INVALID_SHARE = 0.05
_VAL_SHARE = 0.05


class EpisodeDroppedError(Exception):
    """An episode is dropped, including its clips that were made before."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(f"{drop.episode}: {drop.reason} {drop.detail}")
        self.drop = drop


def normalize(
    episode: Episode, info: SourceInfo, settings: SourceSettings, frames: FrameSelection
) -> tuple[Clip, ...] | Drop:
    """Convert an episode to its clips (several only beyond 600 s), or return why it is dropped.

    Raises:
        EpisodeError: a camera's file cannot be read; the episode counts as failed.
    """
    try:
        return tuple(iter_clips(episode, info, settings, frames))
    except EpisodeDroppedError as error:
        return error.drop


def iter_clips(episode: Episode, info: SourceInfo, settings: SourceSettings, frames: FrameSelection) -> Iterator[Clip]:
    """Yield an episode's clips one by one as they are made; a large one keeps images in a temporary file.

    Raises:
        EpisodeDroppedError: the episode is dropped; discard the clips yielded before.
        EpisodeError: a camera's file cannot be read; the episode counts as failed; discard the clips yielded before.
        StorageError: the disk of the temporary files is full.
    """
    main = choose_main(episode.instructions, info.text_style)
    drop = _text_drop(episode, info) or _row_drop(episode, info, settings)
    if drop:
        raise EpisodeDroppedError(drop)
    if not is_finite(episode):
        raise _dropped(episode, Reason.NONFINITE, "action or state holds NaN or infinity")
    with np.errstate(over="ignore", invalid="ignore"):  # such values are refused below
        action, state = action_track(episode), state_track(episode)
    if any(track is not None and not np.isfinite(track.values).all() for track in (action, state)):
        raise _dropped(episode, Reason.NONFINITE, "action or state holds numbers that are too large for float32")
    valid = np.ones(len(episode.step_index), bool)
    if action is not None:
        valid = valid_rows(action, max_step_m=info.max_step_m, max_step_rad=info.max_step_rad)
        num_outliers = int((~valid).sum())
        if num_outliers > _MAX_INVALID_SHARE * len(valid):
            detail = f"{num_outliers} of {len(valid)} rows move farther than a robot can in one step"
            raise _dropped(episode, Reason.OUTLIERS, detail)
    try:
        yield from _clips(episode, settings, frames, main, action, state, valid)
    except _BlackError as error:
        raise _dropped(episode, Reason.BLACK, str(error)) from error
    except UndecodableFrameError as error:
        raise _dropped(episode, Reason.UNDECODABLE, str(error)) from error


class _BlackError(ValueError):
    pass


def _dropped(episode: Episode, reason: Reason, detail: str) -> EpisodeDroppedError:
    return EpisodeDroppedError(Drop(episode=episode.id, reason=reason, detail=detail))


def _text_drop(episode: Episode, info: SourceInfo) -> Drop | None:
    if not episode.instructions:
        return None
    main = find_main(episode.instructions)
    reason = text_fault(main.text, info.text_style, main.template)
    return Drop(episode=episode.id, reason=reason, detail=f"text {main.text!r}") if reason else None


def _row_drop(episode: Episode, info: SourceInfo, settings: SourceSettings) -> Drop | None:
    num_rows = len(episode.step_index)
    if num_rows < settings.min_frames:
        detail = f"{num_rows} frames, at least {settings.min_frames} wanted (min_frames)"
        return Drop(episode=episode.id, reason=Reason.SHORT, detail=detail)
    if info.cameras and CameraRole.PRIMARY not in episode.cameras:
        expected, found = info.cameras.get(CameraRole.PRIMARY), ", ".join(sorted(episode.cameras))
        detail = f"no primary camera, expected {expected}; found {found or 'no camera'}"
        return Drop(episode=episode.id, reason=Reason.NO_CAMERA, detail=detail)
    return None


def _clips(
    episode: Episode,
    settings: SourceSettings,
    selection: FrameSelection,
    main: Instruction,
    action: Track | None,
    state: Track | None,
    valid: Bool,
) -> Iterator[Clip]:
    spans = clip_spans(episode.step_index, episode.hz)
    key = f"{episode.source}-{hashlib.sha256(episode.id.encode()).hexdigest()[:16]}"
    for number, (start, stop) in enumerate(spans):
        spool = Spool()
        steps = episode.step_index[start:stop]
        keyframes = keyframe_rows(steps, episode.hz)
        stored = range(stop - start) if selection is FrameSelection.ALL else keyframes
        rows = [start + row for row in stored]
        unified = None
        if action is not None and episode.action_origin is not None:
            unified = UnifiedAction(
                track=_cut(action, start, stop), valid=row_ranges(valid[start:stop]), origin=episode.action_origin
            )
        yield Clip(
            key=key if len(spans) == 1 else f"{key}-{number:02d}",
            source=episode.source,
            release=episode.release,
            episode=episode.id,
            split=split_of(episode),
            embodiment=episode.embodiment,
            arms=episode.arms,
            modality=Modality.VIDEO if unified is None else Modality.PAIRED,
            hz=episode.hz,
            stride=native_stride(episode.hz),
            step_index=steps,
            keyframes=keyframes,
            instruction=main,
            frames={
                role: tuple(_stored(episode, role, rows, start, settings, spool)) for role in sorted(episode.cameras)
            },
            instructions=episode.instructions,
            action=unified,
            state=None if state is None else _cut(state, start, stop),
            gaps=episode.gaps,
            provenance=episode.provenance,
            extras=episode.extras,
            depths={role: tuple(_stored_depths(episode, role, rows, start, spool)) for role in sorted(episode.depths)},
        )


def clip_spans(step_index: Int64, hz: float) -> list[tuple[int, int]]:
    """Cut rows into consecutive spans of at most 600 s, each starting 600 s after the previous one."""
    if (step_index[-1] - step_index[0]) / (hz * MAX_CLIP_S) < 1:
        return [(0, len(step_index))]
    chunk = ((step_index - step_index[0]) / (hz * MAX_CLIP_S)).astype(int)
    starts = np.flatnonzero(np.diff(chunk, prepend=-1))
    return [(int(start), int(stop)) for start, stop in zip(starts, [*starts[1:], len(step_index)], strict=True)]


def split_of(episode: Episode) -> Split:
    """Return the source's own split, else hash the split group: below 5% is validation."""
    if episode.split is not None:
        return episode.split
    digest = hashlib.sha256((episode.split_group or episode.id).encode()).digest()
    return Split.VAL if int.from_bytes(digest[:8], "big") < _VAL_SHARE * 2**64 else Split.TRAIN


def _stored(
    episode: Episode, role: CameraRole, rows: Sequence[int], first: int, settings: SourceSettings, spool: Spool
) -> Iterator[StoredFrame]:
    frames = episode.cameras[role].read(rows, settings.resize)
    black = _BlackCount(len(rows)) if role is CameraRole.PRIMARY else None
    for number, (row, frame) in enumerate(zip(rows, frames, strict=True)):
        try:
            stored = store_frame(frame, resize=settings.resize, quality=settings.frames_quality)
            if black is not None:
                black.add(number, stored)
        except UndecodableFrameError as error:
            raise UndecodableFrameError(f"camera {role}, step {episode.step_index[row]}: {error}") from error
        yield StoredFrame(row - first, spool.keep(stored.jpeg))
    if black is not None:
        black.check()


def _stored_depths(
    episode: Episode, role: CameraRole, rows: Sequence[int], first: int, spool: Spool
) -> Iterator[StoredDepth]:
    for row, metres in zip(rows, episode.depths[role].read(rows), strict=True):
        kept = spool.keep(square_depth(metres).tobytes())
        yield StoredDepth(row - first, _depth_image(kept) if isinstance(kept, bytes) else kept)


def _depth_image(data: bytes) -> Float32:
    return np.frombuffer(data, np.float32).reshape(IMAGE_SIZE, IMAGE_SIZE)


class _BlackCount:
    """Counts black frames of the primary camera; of frames stored as they came, only three are decoded."""

    def __init__(self, num_rows: int) -> None:
        self._probes, self._last = {0, num_rows // 2, num_rows - 1}, num_rows - 1
        self._seen = self._black = 0

    def add(self, number: int, frame: SquareFrame) -> None:
        if frame.pixels is None and (number not in self._probes or self._is_settled(number)):
            return
        self._seen += 1
        self._black += is_black_jpeg(frame.jpeg) if frame.pixels is None else is_black(frame.pixels)

    def _is_settled(self, number: int) -> bool:
        """Tell whether the last frame can no longer make the majority black."""
        return number == self._last and 2 * (self._black + 1) <= self._seen + 1

    def check(self) -> None:
        if self._black * 2 > self._seen:
            raise _BlackError(f"{self._black} of {self._seen} primary frames looked at are black")


def _cut(track: Track, start: int, stop: int) -> Track:
    if stop - start == len(track.values):
        return track
    return Track(values=track.values[start:stop], mask=track.mask)
