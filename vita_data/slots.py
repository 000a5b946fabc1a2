"""Which column means what: the unified action [40], the unified state [64], and the action [14] of a batch.

Source: vita_data/README.md, "Vectors". Every other module takes its columns from here.
"""

from collections.abc import Mapping
from types import MappingProxyType

ACTION_DIM = 40
STATE_DIM = 64
VECTOR_DIMS: Mapping[str, int] = MappingProxyType({"action": ACTION_DIM, "state": STATE_DIM})
"""Lengths of the vectors by name."""

LEFT_ACTION, RIGHT_ACTION, BASE_ACTION = 0, 16, 32
"""First columns of each limb in the action [40]."""
LEFT_STATE, RIGHT_STATE, BASE_STATE = 0, 24, 48
"""First columns of each limb in the state [64]."""

XYZ, TURN, GRIPPER = slice(0, 3), slice(3, 6), 6
"""Inside an arm's action: displacement in m, Euler turn in rad, gripper; joint targets follow."""
MOTION = slice(0, 6)
JOINT_TARGETS = 7
NUM_JOINTS = 7

STATE_XYZ, STATE_ROT6D, STATE_GRIPPER = slice(0, 3), slice(3, 9), 9
"""Inside an arm's state: position in m, the first two columns of the rotation matrix, gripper."""
JOINT_POSITIONS, JOINT_VELOCITIES = 10, 17

ARM_DIM = 7
NUM_ACTION_DIMS = 2 * ARM_DIM
"""Of the action in a batch: displacement, turn and gripper of the left arm, then of the right one."""
BATCH_COLUMNS = (*range(LEFT_ACTION, LEFT_ACTION + ARM_DIM), *range(RIGHT_ACTION, RIGHT_ACTION + ARM_DIM))
"""Which of the 40 columns a batch holds."""
JOINT_COLUMNS = tuple(arm + JOINT_TARGETS + joint for arm in (LEFT_ACTION, RIGHT_ACTION) for joint in range(NUM_JOINTS))
"""Which of the 40 columns a batch with joints holds after those: the joint targets of the left arm, then the right."""
LEFT_JOINTS = slice(NUM_ACTION_DIMS, NUM_ACTION_DIMS + NUM_JOINTS)
RIGHT_JOINTS = slice(NUM_ACTION_DIMS + NUM_JOINTS, NUM_ACTION_DIMS + 2 * NUM_JOINTS)
"""Columns of the action in a batch with joints."""
LEFT_ARM, RIGHT_ARM = slice(0, ARM_DIM), slice(ARM_DIM, NUM_ACTION_DIMS)
ARMS = (LEFT_ARM, RIGHT_ARM)
GRIPPERS = (GRIPPER, ARM_DIM + GRIPPER)
"""Columns of the action in a batch."""


def batch_columns(*, joints: bool) -> tuple[int, ...]:
    """Give the columns of the 40 that a batch holds; `joints` adds the joint targets."""
    return (*BATCH_COLUMNS, *(JOINT_COLUMNS if joints else ()))


def within(start: int, columns: slice) -> slice:
    """Give the columns of a limb that starts at `start` of a whole vector."""
    return slice(start + columns.start, start + columns.stop)
