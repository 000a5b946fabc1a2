"""Which columns of an action a robot of which only joints are known carries out."""

import numpy as np

from vita_data.slots import (
    GRIPPERS,
    LEFT_ARM,
    LEFT_JOINTS,
    MOTION,
    NUM_ACTION_DIMS,
    RIGHT_ARM,
    RIGHT_JOINTS,
    within,
)
from vita_data.types import Bool, Int64


def joint_columns(mask: Bool) -> Int64:
    """Order the joint targets of the arms that have them: left first, each followed by the arm's gripper, if any.

    Args:
        mask: [A] the columns that the source has.

    Returns:
        Their columns; none if the motion of a hand is known, or if there are no joint targets.
    """
    has_motion = any(mask[within(arm.start, MOTION)].any() for arm in (LEFT_ARM, RIGHT_ARM))
    if has_motion or not mask[NUM_ACTION_DIMS:].any():
        return np.zeros(0, np.int64)
    columns, order = np.arange(len(mask)), []
    for joints, gripper in zip((LEFT_JOINTS, RIGHT_JOINTS), GRIPPERS, strict=True):
        order += [columns[joints], columns[gripper : gripper + 1]]
    arms = np.concatenate(order)
    return np.asarray(arms[mask[arms]], np.int64)
