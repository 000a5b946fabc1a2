"""The rule by which openpi leaves out idle steps of DROID, for its RLDS release and its LeRobot conversions."""

import numpy as np

from vita_data.types import Bool, Float64, Int64

MIN_IDLE_STEPS, MIN_MOVING_STEPS = 7, 16
_IDLE_CHANGE, _TRIMMED_STEPS = 1e-3, 10


def moving_steps(joint_velocity: Float64) -> Int64:
    """List the steps that openpi trains on (examples/droid/compute_droid_nonidle_ranges.py).

    Args:
        joint_velocity: [T, 7] commanded; a step is idle if no joint's command differs from the previous step.
    """
    idle = np.zeros(len(joint_velocity), bool)
    idle[1:] = np.all(np.abs(np.diff(joint_velocity, axis=0)) < _IDLE_CHANGE, axis=1)
    kept = np.ones(len(idle), bool)
    for start, stop in _runs(idle):
        kept[start:stop] = stop - start < MIN_IDLE_STEPS
    moving = np.zeros(len(idle), bool)
    for start, stop in _runs(kept):
        # A run is followed by idle steps or the end: its last steps would teach a policy to stop.
        moving[start : stop - _TRIMMED_STEPS] = stop - start >= MIN_MOVING_STEPS
    return np.flatnonzero(moving)


def _runs(mask: Bool) -> list[tuple[int, int]]:
    """List the half-open ranges in which a mask [T] is true."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
