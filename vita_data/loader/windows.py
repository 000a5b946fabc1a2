"""Where windows may start in a clip, and which stored rows and images each is cut from.

One rule serves counting (a whole shard at once) and cutting (one clip), so that the two cannot disagree.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.loader.view import ShardView, clips_of, steps_of
from vita_data.types import Bool, CameraRole, Float64, Int64, Modality, Starts, WindowSpec

ABSENT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What one sample is made of; frame numbers count over the shard, ABSENT where there is no image."""

    row: int
    """Row of the start in the clip."""
    views: Int64
    """[V]"""
    futures: Int64
    """[F]"""
    action_real: Bool
    """[H] rows row..row+H-1 that may be learned from."""


def needed_futures(spec: WindowSpec, modality: Modality) -> int:
    """How many real futures a start needs.

    A video batch has nothing but images, so each of its windows holds two at least, whatever `min_futures` says.
    """
    return max(spec.min_futures, min(1, spec.futures)) if modality is Modality.VIDEO else spec.min_futures


def count_windows(view: ShardView, spec: WindowSpec, modality: Modality) -> Int64:
    """Count the windows of each clip [C] of a shard."""
    if modality is Modality.ACTION:
        valid = np.concatenate([[0], np.cumsum(view.valid_ranges[:, 1] - view.valid_ranges[:, 0])])
        return np.asarray(np.diff(valid[view.valid_offsets]), np.int64)
    keys = _image_starts(view, 0, view.num_clips, spec, modality)
    return np.bincount(clips_of(keys), minlength=view.num_clips)


def start_step(view: ShardView, clip: int, number: int, spec: WindowSpec, modality: Modality) -> int:
    """Find the native step at which a clip's window `number` starts."""
    if modality is Modality.ACTION:
        ranges = view.valid_ranges[view.valid_offsets[clip] : view.valid_offsets[clip + 1]]
        ends = np.cumsum(ranges[:, 1] - ranges[:, 0])
        span = int(np.searchsorted(ends, number, side="right"))
        row = ranges[span, 1] - (ends[span] - number)
        return int(view.steps_of_rows(clip, np.array([row]))[0])
    return int(steps_of(_image_starts(view, clip, clip + 1, spec, modality))[number])


def cut(view: ShardView, clip: int, step: int, spec: WindowSpec, modality: Modality) -> Cut:
    """Cut a window: which images and rows it takes."""
    images = modality is not Modality.ACTION
    row = view.row_of_step(clip, step)
    return Cut(
        row=row,
        views=_views(view, clip, step, spec.views if images else ()),
        futures=_futures(view, clip, step, spec) if images else np.zeros(0, np.int64),
        action_real=_chunk(view, clip, row, spec.horizon if modality is not Modality.VIDEO else 0),
    )


def _image_starts(view: ShardView, first: int, stop: int, spec: WindowSpec, modality: Modality) -> Int64:
    stored = view.stored_keys(first, stop, CameraRole.PRIMARY)
    starts = stored
    if spec.starts is Starts.KEYFRAMES:
        keyframes = view.keyframe_keys(first, stop)
        starts = keyframes[_find(stored, keyframes) != ABSENT]
    needed = needed_futures(spec, modality)
    if needed and starts.size:
        found = np.zeros(len(starts), np.int64)
        for number in range(1, spec.futures + 1):
            distance = number * spec.frame_interval_s * view.hz[clips_of(starts)]
            found += _nearest(stored, starts, distance) != ABSENT
        starts = starts[found >= needed]
    return starts


def _find(stored: Int64, keys: Int64) -> Int64:
    if not stored.size:
        return np.full(len(keys), ABSENT)
    place = stored.searchsorted(keys)
    np.minimum(place, len(stored) - 1, out=place)
    place[stored[place] != keys] = ABSENT
    return place


def _nearest(stored: Int64, starts: Int64, distance_steps: Float64) -> Int64:
    # Steps are whole, so at most two lie within half a step, and only at a tie: the earlier one is taken.
    early, late = np.ceil(distance_steps - 0.5).astype(np.int64), np.floor(distance_steps + 0.5).astype(np.int64)
    found = _find(stored, starts + early)
    ties = (early != late) & (found == ABSENT)
    if ties.any():
        found[ties] = _find(stored, (starts + late)[ties])
    return found


def _views(view: ShardView, clip: int, step: int, roles: tuple[CameraRole, ...]) -> Int64:
    found = np.full(len(roles), ABSENT)
    for slot, role in enumerate(roles):
        first, steps = view.frames_of(clip, role)
        place = int(_find(steps.astype(np.int64), np.array([step]))[0])
        found[slot] = ABSENT if place == ABSENT else first + place
    return found


def _futures(view: ShardView, clip: int, step: int, spec: WindowSpec) -> Int64:
    first, steps = view.frames_of(clip, CameraRole.PRIMARY)
    distance = np.arange(1, spec.futures + 1) * spec.frame_interval_s * view.hz[clip]
    place = _nearest(steps.astype(np.int64), np.full(spec.futures, step), distance)
    return np.where(place == ABSENT, ABSENT, first + place)


def _chunk(view: ShardView, clip: int, row: int, horizon: int) -> Bool:
    if not horizon:
        return np.zeros(0, bool)
    rows = np.arange(row, row + horizon)
    valid = np.zeros(horizon, bool)
    for start, stop in view.valid_ranges[view.valid_offsets[clip] : view.valid_offsets[clip + 1]]:
        valid |= (rows >= start) & (rows < stop)
    return valid & (rows < view.chunk_end(clip, row))
