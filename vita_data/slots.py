"""Which column means what: the unified action [40], the unified state [64], and the action [14] of a batch.

Source: vita_data/README.md, "Vectors". Every other module takes its columns from here.
"""

ACTION_DIM = 40
STATE_DIM = 64

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
LEFT_ARM, RIGHT_ARM = slice(0, ARM_DIM), slice(ARM_DIM, NUM_ACTION_DIMS)
ARMS = (LEFT_ARM, RIGHT_ARM)
GRIPPERS = (GRIPPER, ARM_DIM + GRIPPER)
"""Columns of the action in a batch."""


def within(start: int, columns: slice) -> slice:
    """Give the columns of a limb that starts at `start` of a whole vector."""
    return slice(start + columns.start, start + columns.stop)
