"""The rate of a video and the steps of its frames, measured from the times of the frames."""

import numpy as np

from vita_data.types import Float64, Int64

_PAUSE = 1.75
_REGULAR_SHARE = 0.75


def number_frames(time_s: Float64) -> tuple[float, Int64]:
    """Measure the frames per second, and number frames [n] by their times: step = round(time * rate).

    The rate is (n - 1) / (last - first), unless a pause would distort it. A pause is an interval longer than 1.75
    median
    intervals: dropped frames, or a recording that paused. If there is one, and at least three quarters of the intervals
        are
    within a factor of 1.75 of the median, the rate is the number of those intervals divided by their sum, so that
    frames are one step apart and a pause is a gap in the steps. A less regular video has no rate of its own: the mean
    over all intervals keeps its rows close to whole seconds.

    Source: vita_data/README.md defines both.
    Assumes: a video without two frames at different times has no rate and counts as 1 Hz.

    Args:
        time_s: when each frame [n] is shown, in seconds, ascending from 0.
    """
    if time_s[-1] <= 0:
        return 1.0, np.zeros(len(time_s), np.int64)
    hz, intervals = float((len(time_s) - 1) / time_s[-1]), np.diff(time_s)
    median, pauses = np.median(intervals[intervals > 0]), np.zeros(0, np.int64)
    if intervals.max() > _PAUSE * median:
        regular = intervals[(intervals >= median / _PAUSE) & (intervals <= _PAUSE * median)]
        if len(regular) >= _REGULAR_SHARE * len(intervals):
            hz, pauses = float(len(regular) / regular.sum()), np.flatnonzero(intervals > _PAUSE * median)
    return hz, _steps(time_s * hz, pauses + 1)


def _steps(position: Float64, starts: Int64) -> Int64:
    """Round positions [n] in steps; positions after a pause are measured from the first frame after it.

    After a pause with a fractional part near one half, plain rounding would put two frames on one step and none on the
    next.
    """
    origin = np.zeros(len(position), np.int64)
    origin[starts] = starts
    base = position[np.maximum.accumulate(origin)]
    return np.asarray(np.rint(base) + np.rint(position - base), np.int64)
