"""The 1-second stride: which rows of a clip are keyframes (VITA 7.1: one second between frames)."""

import math

import numpy as np

from vita_data.types import Int64


def native_stride(hz: float) -> int:
    """Return the native steps per second, at least 1; for display."""
    return max(1, round(hz))


def keyframe_rows(step_index: Int64, hz: float) -> tuple[int, ...]:
    """Find the rows nearest to whole seconds after the first row.

    Keyframes are chosen by time, not by rows: row time is step_index / hz. A second with no row within half a native
    step has no keyframe; a tie goes to the earlier row.

    Args:
        step_index: [T] native steps, strictly increasing.
        hz: native steps per second.
    """
    if not len(step_index):
        return ()
    steps = (step_index - step_index[0]).astype(np.float64)
    targets = np.arange(math.floor((steps[-1] + 0.5) / hz) + 1) * hz
    after = np.maximum(np.minimum(np.searchsorted(steps, targets), len(steps) - 1), 1)
    before = after - 1
    after = np.minimum(after, len(steps) - 1)
    nearest = np.where(np.abs(steps[before] - targets) <= np.abs(steps[after] - targets), before, after)
    near = np.abs(steps[nearest] - targets) <= 0.5
    return tuple(dict.fromkeys(nearest[near].tolist()))
