"""Safety limits between a policy and a robot: commands are changed to stay within them, or the run ends."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.config.checks import require_positive
from vita_data.errors import RequestError
from vita_data.types import Float64
from vita_model.robot.interfaces import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A box in the robot's base frame that the tool must not leave."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Refuse an empty box; raises RequestError."""
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise RequestError(f"expected a workspace with low_m below high_m, got {self.low_m} to {self.high_m}")

    def clip(self, xyz_m: Float64) -> Float64:
        """Give the nearest point [3] inside the box."""
        return np.clip(xyz_m, self.low_m, self.high_m)

    def contains(self, xyz_m: Float64, *, slack_m: float = 0.0) -> bool:
        """Tell whether a point is inside the box enlarged by `slack_m`."""
        return bool(
            np.all(xyz_m >= np.array(self.low_m) - slack_m) and np.all(xyz_m <= np.array(self.high_m) + slack_m)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How fast and how far the tool may go.

    Assumes: all numbers; the paper gives only the table's 0.8 m x 0.8 m (10.2). Set the box to your own table.
    """

    workspace: Workspace
    speed_m_s: float = 0.25
    speed_rad_s: float = 1.0
    tracking_m: float = 0.05
    """Maximum distance of the tool from its commanded position; beyond it, the tool is blocked and the run ends."""

    def __post_init__(self) -> None:
        """Refuse limits that are not positive; raises RequestError."""
        require_positive(self, "speed_m_s", "speed_rad_s", "tracking_m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A pose within the limits."""

    pose: Pose
    was_changed: bool
    """Whether the action was too fast or left the workspace."""


def next_pose(before: Pose, action: Float64, limits: Limits, period_s: float) -> Limited:
    """Apply a canonical action [7] to the last commanded pose, within the limits.

    Args:
        before: the last commanded pose.
        action: dx dy dz in m, droll dpitch dyaw in rad, for one period; the gripper is ignored.
        limits: limits of speed and position.
        period_s: duration of one command.
    """
    step_m, turn = np.asarray(action[:3], np.float64), Rotation.from_euler("xyz", action[3:6]).as_rotvec()
    longest_m, wanted = limits.speed_m_s * period_s, before.xyz_m + step_m
    slower = _at_most(turn, limits.speed_rad_s * period_s)
    inside = limits.workspace.clip(before.xyz_m + _at_most(step_m, longest_m))
    place = inside
    if np.linalg.norm(inside - before.xyz_m) > longest_m:  # a tool outside the box returns at limited speed
        place = before.xyz_m + _at_most(inside - before.xyz_m, longest_m)
    return Limited(
        pose=Pose(xyz_m=place, rotation=Rotation.from_rotvec(slower).as_matrix() @ before.rotation),
        was_changed=not (np.array_equal(place, wanted) and np.array_equal(slower, turn)),
    )


def _at_most(vector: Float64, length: float) -> Float64:
    found = float(np.linalg.norm(vector))
    return vector if found <= length else vector * (length / found)
