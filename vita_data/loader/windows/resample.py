"""Action chunks over a time span, independent of the source's rate: equal parts of integrated poses.

Warmup decodes the actions of a frame pair from the pair's code, so both must cover the same second: 12 native steps are
4 s at 3 Hz but 0.4 s at 30 Hz. Motion within a native step is assumed to be uniform. A sample of a chunk is the motion
in its part of the span, expressed per native step, so that the source's statistics scale it.
Letters: B windows, N native steps of the longest span, H samples of a chunk, A columns of a batch's action.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.geometry import (
    axis_angle_from_matrix,
    euler_xyz_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler_xyz,
)
from vita_data.loader.windows.clips import ClipSet
from vita_data.slots import ARMS, GRIPPER, MOTION, NUM_ACTION_DIMS, within
from vita_data.types import Bool, Float32, Float64, Int64

_ROUNDING = 1e-9
"""Rounding tolerance of a bound in steps: 0.1 s at 30 Hz gives slightly more than 3 steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedChunk:
    """The rows that the chunks of windows [B] are made of."""

    offset: Int64
    """[B, N] for each native step of the span, the offset from the window's row to the row with its gripper value."""
    moves: Bool
    """[B, N] whether that row's motion is in the span; a removed no-op has no motion."""
    real: Bool
    """[B, H] samples whose native steps may all be used for training."""
    steps_per_sample: Float64
    """[B]"""

    def part(self, samples: slice) -> "TimedChunk":
        """Take some of the windows."""
        return TimedChunk(
            offset=self.offset[samples], moves=self.moves[samples], real=self.real[samples],
            steps_per_sample=self.steps_per_sample[samples],
        )  # fmt: skip


def timed_chunk(clips: ClipSet, steps: Int64, rows: Int64, *, span_s: float, horizon: int) -> TimedChunk:
    """Cut the chunks of windows that start at native steps [B], rows [B] of their clips.

    A chunk ends at a gap that breaks, and at the end of its clip, like a chunk of native steps.
    """
    num_native = clips.hz * span_s
    needed = np.ceil(num_native - _ROUNDING).astype(np.int64)
    ahead = np.arange(int(needed.max(initial=1)))
    each = np.repeat(np.arange(len(clips))[:, None], len(ahead), axis=1)
    found = clips.last_rows_at(each, steps[:, None] + ahead)
    stored = clips.steps_of_rows(each, found) == steps[:, None] + ahead
    inside = steps[:, None] + ahead <= clips.steps_of_rows(each[:, 0], clips.num_steps - 1)[:, None]
    bridged = inside & ~clips.ends_at_gaps[:, None]
    unbroken = np.logical_and.accumulate(stored | bridged, axis=1)
    good = unbroken & (~stored | clips.is_valid(each, found))
    return TimedChunk(
        offset=found - rows[:, None], moves=stored & (ahead < needed[:, None]),
        real=_all_touched(good, num_native, horizon), steps_per_sample=num_native / horizon,
    )  # fmt: skip


def _bounds(steps_per_sample: Float64, horizon: int) -> Float64:
    """Return the native steps [B, H + 1] where samples begin and end."""
    return steps_per_sample[:, None] * np.arange(horizon + 1)


def _all_touched(good: Bool, num_native: Float64, horizon: int) -> Bool:
    bounds = _bounds(num_native / horizon, horizon)
    first = np.floor(bounds[:, :-1] + _ROUNDING).astype(np.int64)
    stop = np.ceil(bounds[:, 1:] - _ROUNDING).astype(np.int64)
    before = np.concatenate([np.zeros((len(good), 1), np.int64), np.cumsum(~good, axis=1)], axis=1)
    width = good.shape[1]
    num_bad = np.take_along_axis(before, np.minimum(stop, width), 1) - np.take_along_axis(
        before, np.minimum(first, width), 1
    )
    return np.asarray((num_bad == 0) & (stop <= width))


def resampled(chunk: TimedChunk, rows: Float32, mask: Bool) -> Float32:
    """Make chunks [B, H, A] from rows [B, N, A] of the windows' clips, starting at the windows' first rows.

    Args:
        chunk: which of the rows to use.
        rows: canonical actions, and joint targets if the batch has them; physical units.
        mask: [B, A] columns that the clips have.

    Returns:
        Motion per native step at the mean speed of each sample; gripper and joint targets of its last native step.
    """
    horizon = chunk.real.shape[1]
    offset = np.clip(chunk.offset, 0, rows.shape[1] - 1)
    native = np.take_along_axis(rows, offset[..., None], axis=1).astype(np.float64)
    bounds = _bounds(chunk.steps_per_sample, horizon)
    last = np.clip(np.ceil(bounds[:, 1:] - _ROUNDING).astype(np.int64) - 1, 0, native.shape[1] - 1)
    found = np.zeros((len(rows), horizon, rows.shape[2]), np.float32)
    for start in (arm.start for arm in ARMS):
        mine = mask[:, start]
        if mine.any():
            motion = within(start, MOTION)
            moved = np.where(chunk.moves[mine, :, None], native[mine, :, motion], 0.0)
            found[mine, :, motion] = _motion(moved, bounds[mine])
        found[:, :, start + GRIPPER] = np.take_along_axis(native[..., start + GRIPPER], last, axis=1)
    found[..., NUM_ACTION_DIMS:] = np.take_along_axis(native[..., NUM_ACTION_DIMS:], last[..., None], axis=1)
    return found


def _motion(moved: Float64, bounds: Float64) -> Float64:
    """Integrate motion [B, N, 6] between bounds [B, H + 1]: displacement and Euler angles per native step [B, H, 6]."""
    length = bounds[:, 1:2] - bounds[:, :1]
    axis_angle = axis_angle_from_matrix(matrix_from_euler_xyz(moved[..., 3:].reshape(-1, 3))).reshape(
        *moved.shape[:2], 3
    )
    first = np.floor(bounds[:, :-1] + _ROUNDING).astype(np.int64)
    xyz = np.zeros((*first.shape, 3))
    turn = np.broadcast_to(np.eye(3), (*first.shape, 3, 3))
    for ahead in range(int(np.ceil(length.max() - _ROUNDING)) + 1):
        step = first + ahead
        share = np.clip(np.minimum(step + 1, bounds[:, 1:]) - np.maximum(step, bounds[:, :-1]), 0.0, 1.0)
        place = np.minimum(step, moved.shape[1] - 1)[..., None]
        xyz = xyz + share[..., None] * np.take_along_axis(moved[..., :3], place, axis=1)
        part = share[..., None] * np.take_along_axis(axis_angle, place, axis=1)
        turn = matrix_from_axis_angle(part.reshape(-1, 3)).reshape(turn.shape) @ turn
    mean_turn = axis_angle_from_matrix(turn.reshape(-1, 3, 3)).reshape(xyz.shape) / length[..., None]
    euler = euler_xyz_from_matrix(matrix_from_axis_angle(mean_turn.reshape(-1, 3))).reshape(xyz.shape)
    return np.concatenate([xyz / length[..., None], euler], axis=-1)
