"""Where windows may start in a clip, and which stored rows and images each window uses.

The same rule is used for counting (all clips of a shard) and cutting (the clips of a batch), so they always agree.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.loader.windows.clips import ClipSet, Images, Ragged, clip_keys, clips_of, steps_of
from vita_data.loader.windows.resample import TimedChunk, timed_chunk
from vita_data.types import Bool, CameraRole, Float64, Int64, Modality, Starts, WindowSpec

ABSENT = -1
_MOST_STEPS = 1 << 30
"""Longest interval, in steps, that is safe to compare in 32 bits."""
_ROUNDING = 1e-9
"""Rounding tolerance of a tie in steps: 3 x 0.1 s at 5 Hz gives slightly more than 1.5 steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What samples [B] are made of; images by their number in their shard, ABSENT if missing."""

    row: Int64
    """[B] start row in the clip."""
    views: Int64
    """[B, V]"""
    futures: Int64
    """[B, F]"""
    action_real: Bool
    """[B, H] whether rows row..row+H-1, or samples of the timed chunk, may be used for training."""
    timed: TimedChunk | None = None
    """Set if chunks cover a time span (`WindowSpec.chunk_s`)."""

    def part(self, samples: slice) -> "Cut":
        """Take some of the samples."""
        return Cut(
            row=self.row[samples], views=self.views[samples], futures=self.futures[samples],
            action_real=self.action_real[samples], timed=None if self.timed is None else self.timed.part(samples),
        )  # fmt: skip


def needed_futures(spec: WindowSpec, modality: Modality) -> int:
    """Return how many real futures a start needs.

    A video batch contains only images, so each of its windows has at least two images, whatever `min_futures` is.
    """
    return max(spec.min_futures, min(1, spec.futures)) if modality is Modality.VIDEO else spec.min_futures


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The windows of clips [C]."""

    counts: Int64
    is_plain: Bool
    """Whether window n of the clip starts at its n-th image, so that no search is needed."""


def count_windows(clips: ClipSet, spec: WindowSpec, modality: Modality) -> Counted:
    """Count the windows of each clip."""
    if modality is Modality.ACTION:
        counts = np.diff(_valid_rows_before(clips)[clips.valid.offsets])
        return Counted(counts=np.asarray(counts, np.int64), is_plain=np.zeros(len(clips), bool))
    if (regular := _regular_counts(clips, spec, needed_futures(spec, modality))) is not None:
        return Counted(counts=regular, is_plain=np.ones(len(clips), bool))
    stored = clips.image_keys(CameraRole.PRIMARY)
    starts = _image_starts(clips, stored, spec, modality)
    counts = np.bincount(clips_of(starts), minlength=len(clips))
    last, some = np.cumsum(counts) - 1, counts > 0
    first = stored.searchsorted(clip_keys(np.arange(len(clips)), np.zeros(len(clips), np.int64)))
    is_plain = np.ones(len(clips), bool)
    is_plain[some] = starts[last[some]] == stored[(first + counts - 1)[some]]
    return Counted(counts=counts, is_plain=is_plain)


def _regular_counts(clips: ClipSet, spec: WindowSpec, needed: int) -> Int64 | None:
    """Count windows where each image is a start and has the next one as its future; None if any clip is different.

    The common case of a build with keyframes only, told from the columns as they are: no keys, no searches.
    """
    images = clips.images(CameraRole.PRIMARY).steps
    if needed > 1 or (spec.starts is Starts.KEYFRAMES and not _stored_at_keyframes(clips, images)):
        return None
    counts = np.diff(images.offsets).astype(np.int64)
    if not needed:
        return counts
    # The last image of a clip has no later one, which could be its future.
    return counts - (counts > 0) if _one_interval_apart(clips, images, spec) else None


def _stored_at_keyframes(clips: ClipSet, images: Ragged) -> bool:
    """Tell whether the images of all clips are those of their keyframes."""
    keyframes, shifts = clips.keyframes, clips.shifts
    if shifts is None or not np.array_equal(keyframes.offsets, images.offsets):
        return False
    rows = keyframes.columns[0]
    steps = rows + np.repeat(shifts, np.diff(keyframes.offsets)) if shifts.any() else rows
    return np.array_equal(steps, images.columns[0])


def _one_interval_apart(clips: ClipSet, images: Ragged, spec: WindowSpec) -> bool:
    """Tell whether images that follow each other in a clip are one interval apart."""
    distance = _early(spec.frame_interval_s * clips.hz)
    if not len(distance) or distance.min() < 1 or distance.max() > _MOST_STEPS:
        return False
    steps, short = images.columns[0], distance.astype(np.int32)
    apart = steps[1:] - steps[:-1]
    alike = (short == short[0]).all()
    expected = short[0] if alike else np.repeat(short, np.diff(images.offsets))[:-1]
    wrong = apart != expected
    ends = images.offsets[1:-1]
    wrong[ends[(ends > 0) & (ends < len(steps))] - 1] = False  # between two clips
    return not wrong.any()


def start_steps(
    clips: ClipSet, numbers: Int64, spec: WindowSpec, modality: Modality, *, is_plain: Bool | None = None
) -> Int64:
    """Find the native step [C] at which window `numbers` [C] of each clip starts; `is_plain` as in `Counted`."""
    if is_plain is not None and is_plain.all():
        images = clips.images(CameraRole.PRIMARY).steps
        return np.asarray(images.columns[0][images.offsets[:-1] + numbers], np.int64)
    each = np.arange(len(clips))
    if modality is Modality.ACTION:
        before = _valid_rows_before(clips)
        place = before[clips.valid.offsets[:-1]] + numbers
        span = np.searchsorted(before, place, side="right") - 1
        return clips.steps_of_rows(each, clips.valid.columns[0][span] + (place - before[span]))
    starts = _image_starts(clips, clips.image_keys(CameraRole.PRIMARY), spec, modality)
    return steps_of(starts[np.searchsorted(starts, clip_keys(each, np.zeros_like(each))) + numbers])


def cut(clips: ClipSet, steps: Int64, spec: WindowSpec, modality: Modality) -> Cut:
    """Cut one window of each clip at native steps [C]: find its images and rows."""
    images = modality is not Modality.ACTION
    rows = clips.rows_of_steps(np.arange(len(clips)), steps)
    horizon, timed = spec.horizon if modality is not Modality.VIDEO else 0, None
    if horizon and spec.chunk_s is not None:
        timed = timed_chunk(clips, steps, rows, span_s=spec.chunk_s, horizon=horizon)
    return Cut(
        row=rows,
        views=_views(clips, steps, spec.views if images else ()),
        futures=_futures(clips, steps, spec) if images else np.zeros((len(clips), 0), np.int64),
        action_real=_chunk(clips, rows, horizon) if timed is None else timed.real,
        timed=timed,
    )


def _valid_rows_before(clips: ClipSet) -> Int64:
    """Count the valid action rows before each range, and in total [n + 1]."""
    start, stop = clips.valid.columns
    return np.concatenate([[0], np.cumsum((stop - start).astype(np.int64))])


def _image_starts(clips: ClipSet, stored: Int64, spec: WindowSpec, modality: Modality) -> Int64:
    """Find the starts among the primary camera's stored images (keys)."""
    starts = stored
    if spec.starts is Starts.KEYFRAMES:
        where = clips.keyframes.clips
        starts = clip_keys(where, clips.steps_of_rows(where, clips.keyframes.columns[0]))
        if not np.array_equal(starts, stored):
            starts = starts[_find(stored, starts) != ABSENT]
    needed = needed_futures(spec, modality)
    return _with_futures(clips, starts, stored, spec, needed) if needed and starts.size else starts


def _with_futures(clips: ClipSet, starts: Int64, stored: Int64, spec: WindowSpec, needed: int) -> Int64:
    """Keep the starts with enough futures; most have the first one, so few searches for the others are needed."""
    found = np.zeros(len(starts), np.int64)
    if needed == 1 and len(starts) == len(stored):
        # The future of most images is the next image, which needs no search.
        distance = _early(spec.frame_interval_s * clips.hz)[clips_of(starts[:-1])]
        found[:-1] = stored[1:] == starts[:-1] + distance
    lacking = np.flatnonzero(found < needed)
    for number in range(1, spec.futures + 1):
        if not lacking.size:
            break
        asked = starts[lacking]
        distance_steps = number * spec.frame_interval_s * clips.hz[clips_of(asked)]
        found[lacking] += _nearest(stored, asked, distance_steps) != ABSENT
        lacking = lacking[found[lacking] < needed]
    return starts[found >= needed]


def _find(stored: Int64, keys: Int64) -> Int64:
    if not stored.size:
        return np.full(keys.shape, ABSENT)
    place = stored.searchsorted(keys)
    np.minimum(place, len(stored) - 1, out=place)
    place[stored[place] != keys] = ABSENT
    return place


def _nearest(stored: Int64, starts: Int64, distance_steps: Float64) -> Int64:
    # Steps are whole numbers, so two of them are within half a step only at a tie: then use the earlier one.
    early, late = _early(distance_steps), np.floor(distance_steps + (0.5 + _ROUNDING)).astype(np.int64)
    found = _find(stored, starts + early)
    ties = (early != late) & (found == ABSENT)
    if ties.any():
        found[ties] = _find(stored, (starts + late)[ties])
    return found


def _early(distance_steps: Float64) -> Int64:
    return np.ceil(distance_steps - (0.5 + _ROUNDING)).astype(np.int64)


def _image_numbers(images: Images, places: Int64) -> Int64:
    """Convert positions [C, n] among a camera's images in all clips to numbers in their shards."""
    inside = places - images.steps.offsets[:-1, None]
    return np.where(places == ABSENT, ABSENT, images.first[:, None] + inside)


def _views(clips: ClipSet, steps: Int64, roles: tuple[CameraRole, ...]) -> Int64:
    keys = clip_keys(np.arange(len(clips)), steps)
    found = [_image_numbers(clips.images(role), _find(clips.image_keys(role), keys)[:, None]) for role in roles]
    return np.concatenate([np.zeros((len(clips), 0), np.int64), *found], axis=1)


def _futures(clips: ClipSet, steps: Int64, spec: WindowSpec) -> Int64:
    if not spec.futures:
        return np.zeros((len(clips), 0), np.int64)
    starts = np.repeat(clip_keys(np.arange(len(clips)), steps)[:, None], spec.futures, axis=1)
    distance = np.arange(1, spec.futures + 1) * spec.frame_interval_s * clips.hz[:, None]
    places = _nearest(clips.image_keys(CameraRole.PRIMARY), starts, distance)
    return _image_numbers(clips.images(CameraRole.PRIMARY), places)


def _chunk(clips: ClipSet, rows: Int64, horizon: int) -> Bool:
    if not horizon:
        return np.zeros((len(clips), 0), bool)
    each, wanted = np.arange(len(clips)), rows[:, None] + np.arange(horizon)
    return clips.is_valid(np.repeat(each[:, None], horizon, axis=1), wanted) & (wanted < _ends(clips, rows)[:, None])


def _ends(clips: ClipSet, rows: Int64) -> Int64:
    """Return for each of `rows` the first row that a chunk may not reach: the next breaking gap or the clip's end."""
    next_run = clips.run_rows.searchsorted(clip_keys(np.arange(len(clips)), rows), side="right")
    at_gap = clips.ends_at_gaps & (next_run < clips.runs.offsets[1:])
    gap = clips.runs.columns[0][np.minimum(next_run, len(clips.runs.columns[0]) - 1)]
    return np.where(at_gap, gap, clips.num_steps)
