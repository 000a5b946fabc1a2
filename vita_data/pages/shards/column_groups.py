"""Columns of the action [40] and the state [64] in groups of one unit, with the names that pages show."""

from dataclasses import dataclass

from vita_data.slots import (
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
    STATE_GRIPPER,
    STATE_ROT6D,
    TURN,
)

GRIPPER_UNIT = "0 closed, 1 open"
_AXES = ("x", "y", "z")
_TURNS = ("droll", "dpitch", "dyaw")
_JOINTS = tuple(f"joint {joint}" for joint in range(1, NUM_JOINTS + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Columns of a vector that share a unit and therefore a chart."""

    title: str
    unit: str
    start: int
    names: tuple[str, ...]

    def columns(self) -> range:
        """The columns of the group in its vector."""
        return range(self.start, self.start + len(self.names))


def arm_action_groups(arm: str, start: int) -> tuple[Group, ...]:
    """Return the groups of the seven canonical action columns of one arm (vita_data/README.md)."""
    return (
        Group(title=f"{arm} translation", unit="m per step", start=start, names=("dx", "dy", "dz")),
        Group(title=f"{arm} rotation", unit="rad per step", start=start + TURN.start, names=_TURNS),
        Group(title=f"{arm} gripper", unit=GRIPPER_UNIT, start=start + GRIPPER, names=("gripper",)),
    )


def _joint_targets(arm: str, start: int) -> Group:
    return Group(title=f"{arm} joint targets", unit="rad", start=start + JOINT_TARGETS, names=_JOINTS)


def _arm_state_groups(arm: str, start: int) -> tuple[Group, ...]:
    rotation = tuple(f"R{row}{column}" for column in (1, 2) for row in (1, 2, 3))
    turned = start + STATE_ROT6D.start
    return (
        Group(title=f"{arm} position", unit="m", start=start, names=_AXES),
        Group(title=f"{arm} rotation (two matrix columns)", unit="no unit", start=turned, names=rotation),
        Group(title=f"{arm} gripper opening", unit=GRIPPER_UNIT, start=start + STATE_GRIPPER, names=("gripper",)),
        Group(title=f"{arm} joint positions", unit="rad", start=start + JOINT_POSITIONS, names=_JOINTS),
        Group(title=f"{arm} joint velocities", unit="rad/s", start=start + JOINT_VELOCITIES, names=_JOINTS),
    )


ACTION_GROUPS = (
    *arm_action_groups("left arm", LEFT_ACTION),
    _joint_targets("left arm", LEFT_ACTION),
    *arm_action_groups("right arm", RIGHT_ACTION),
    _joint_targets("right arm", RIGHT_ACTION),
    Group(title="base motion", unit="m, rad per step", start=BASE_ACTION, names=("dx", "dy", "dyaw")),
)
STATE_GROUPS = (
    *_arm_state_groups("left arm", LEFT_STATE),
    *_arm_state_groups("right arm", RIGHT_STATE),
    Group(title="base pose", unit="m, rad", start=BASE_STATE, names=("x", "y", "yaw")),
)
