"""The names of the columns of the action [40] and the state [64], and which of them an export holds."""

from vita_data.slots import (
    ACTION_DIM,
    BASE_ACTION,
    BASE_STATE,
    GRIPPER,
    JOINT_POSITIONS,
    JOINT_TARGETS,
    JOINT_VELOCITIES,
    LEFT_ACTION,
    LEFT_STATE,
    NUM_JOINTS,
    RIGHT_ACTION,
    RIGHT_STATE,
    STATE_DIM,
    STATE_GRIPPER,
    STATE_ROT6D,
)

_JOINTS = range(1, NUM_JOINTS + 1)


def action_names() -> tuple[str, ...]:
    """Name the columns of the action; columns without a meaning are `reserved_N`."""
    names = [f"reserved_{column}" for column in range(ACTION_DIM)]
    for arm, start in (("left", LEFT_ACTION), ("right", RIGHT_ACTION)):
        _put(names, start, [f"{arm}_{part}" for part in ("dx", "dy", "dz", "droll", "dpitch", "dyaw")])
        _put(names, start + GRIPPER, [f"{arm}_gripper"])
        _put(names, start + JOINT_TARGETS, [f"{arm}_joint_target_{joint}" for joint in _JOINTS])
    _put(names, BASE_ACTION, ["base_dx", "base_dy", "base_dyaw"])
    return tuple(names)


def state_names() -> tuple[str, ...]:
    """Name the columns of the state; columns without a meaning are `reserved_N`."""
    names = [f"reserved_{column}" for column in range(STATE_DIM)]
    rotation = [f"r{row}{column}" for column in (1, 2) for row in (1, 2, 3)]
    for arm, start in (("left", LEFT_STATE), ("right", RIGHT_STATE)):
        _put(names, start, [f"{arm}_{axis}" for axis in ("x", "y", "z")])
        _put(names, start + STATE_ROT6D.start, [f"{arm}_{entry}" for entry in rotation])
        _put(names, start + STATE_GRIPPER, [f"{arm}_gripper"])
        _put(names, start + JOINT_POSITIONS, [f"{arm}_joint_{joint}" for joint in _JOINTS])
        _put(names, start + JOINT_VELOCITIES, [f"{arm}_joint_velocity_{joint}" for joint in _JOINTS])
    _put(names, BASE_STATE, ["base_x", "base_y", "base_yaw"])
    return tuple(names)


def _put(names: list[str], start: int, given: list[str]) -> None:
    names[start : start + len(given)] = given
