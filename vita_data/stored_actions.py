"""What sources share to rebuild commands from the stored actions and states of a clip."""

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.geometry import matrix_from_euler_xyz, matrix_from_rot6d
from vita_data.slots import (
    GRIPPER,
    JOINT_POSITIONS,
    JOINT_TARGETS,
    NUM_JOINTS,
    RIGHT_ACTION,
    RIGHT_STATE,
    STATE_ROT6D,
    STATE_XYZ,
    TURN,
    XYZ,
    within,
)
from vita_data.types import Clip, CommandPair, Float64, Int64


def actions_of(clip: Clip) -> Float64:
    """Return a clip's actions [T, 40].

    Raises:
        EpisodeError: it has none.
    """
    if clip.action is None:
        raise EpisodeError(f"clip {clip.key}: expected actions, got a clip without them")
    return clip.action.track.values.astype(np.float64)


def states_of(clip: Clip) -> Float64:
    """Return a clip's states [T, 64].

    Raises:
        EpisodeError: it has none.
    """
    if clip.state is None:
        raise EpisodeError(f"clip {clip.key}: expected states, got a clip without them")
    return clip.state.values.astype(np.float64)


def moves(clip: Clip, start: int = RIGHT_ACTION) -> Float64:
    """Return the displacements [T, 3] of the arm whose action begins at column `start`."""
    return actions_of(clip)[:, within(start, XYZ)]


def turns(clip: Clip, start: int = RIGHT_ACTION) -> Float64:
    """Return the rotations [T, 3, 3] of an arm's actions."""
    return matrix_from_euler_xyz(actions_of(clip)[:, within(start, TURN)])


def openings(clip: Clip, start: int = RIGHT_ACTION) -> Float64:
    """Return the gripper commands [T, 1] of an arm, 1 open."""
    return actions_of(clip)[:, start + GRIPPER, None]


def joint_targets(clip: Clip, start: int = RIGHT_ACTION) -> Float64:
    """Return the joint targets [T, 7] of an arm in rad."""
    first = start + JOINT_TARGETS
    return actions_of(clip)[:, first : first + NUM_JOINTS]


def joint_positions(clip: Clip, start: int = RIGHT_STATE) -> Float64:
    """Return the measured joints [T, 7] of the arm whose state begins at column `start`, in rad."""
    first = start + JOINT_POSITIONS
    return states_of(clip)[:, first : first + NUM_JOINTS]


def hand_xyz(clip: Clip, start: int = RIGHT_STATE) -> Float64:
    """Return the measured positions [T, 3] of the arm whose state begins at column `start`."""
    return states_of(clip)[:, within(start, STATE_XYZ)]


def hand_rotation(clip: Clip, start: int = RIGHT_STATE) -> Float64:
    """Return the measured rotations [T, 3, 3] of an arm."""
    return matrix_from_rot6d(states_of(clip)[:, within(start, STATE_ROT6D)])


def rotation_pair(name: str, recorded: Float64, rebuilt: Float64) -> CommandPair:
    """Compare rotations [T, 3, 3] by their matrices: angles that mean the same rotation do not differ."""
    return CommandPair(name=name, recorded=recorded.reshape(-1, 9), rebuilt=rebuilt.reshape(-1, 9))


def rows_of(values: Float64, rows: Int64, *, name: str) -> Float64:
    """Take the rows of a raw array that a clip names.

    Raises:
        EpisodeError: the array is shorter.
    """
    if len(rows) and rows[-1] >= len(values):
        raise EpisodeError(f"{name}: expected a row {rows[-1]}, got {len(values)} rows; is it the same download?")
    return values[rows]
