"""SimplerEnv's tasks, one per column of Tables 3 and 4, and the gripper commands of the Google Robot."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

STICKY_STEPS = 15
"""Number of steps for which the Google Robot's gripper command is repeated."""


class Robot(StrEnum):
    """Robot of SimplerEnv."""

    WIDOWX = "widowx"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplerTask:
    """One column of Table 3 or 4: the environment and the maximum steps per episode."""

    column: str
    environment: str
    max_steps: int


TASKS: Mapping[Robot, tuple[SimplerTask, ...]] = MappingProxyType(
    {
        Robot.WIDOWX: (
            SimplerTask(column="PutSpoon", environment="PutSpoonOnTableClothInScene-v1", max_steps=60),
            SimplerTask(column="PutCarrot", environment="PutCarrotOnPlateInScene-v1", max_steps=60),
            SimplerTask(column="StackGreen", environment="StackGreenCubeOnYellowCubeBakedTexInScene-v1", max_steps=60),
            SimplerTask(column="PutEggplant", environment="PutEggplantInBasketScene-v1", max_steps=120),
        ),
        Robot.GOOGLE: (
            SimplerTask(column="PickCokeCan", environment="google_robot_pick_coke_can", max_steps=80),
            SimplerTask(column="MoveNear", environment="google_robot_move_near", max_steps=80),
            SimplerTask(column="OpenDrawer", environment="google_robot_open_drawer", max_steps=113),
        ),
    }
)


class StickyGripper:
    """Gripper commands of the Google Robot, which are changes instead of positions, each repeated for 15 steps."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._change, self._left = 0.0, 0

    def command(self, gripper_open: float) -> float:
        """Convert an absolute opening to a change, -1 to open and 1 to close.

        Source: simpler_env, octo_model.py: a change of more than 0.5 is repeated; others are ignored during that time.
        """
        change = 0.0 if self._before is None else self._before - gripper_open
        self._before = gripper_open
        if abs(change) > 0.5 and not self._left:
            self._change, self._left = change, STICKY_STEPS
        if not self._left:
            return change
        self._left -= 1
        return self._change
