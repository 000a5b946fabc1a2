"""Interfaces of the control loop: arm, camera and clock."""

from dataclasses import dataclass
from typing import Protocol

from vita_data.types import Float64, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Pose of the tool in the robot's base frame: position in metres and rotation matrix [3, 3]."""

    xyz_m: Float64
    rotation: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmState:
    """State reported by the arm."""

    pose: Pose
    joints_rad: Float64
    """[6]."""
    gripper_open: float
    """0 closed .. 1 open."""
    is_stopped: bool
    """Whether the robot's own safety system has stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image and its time by the loop's clock."""

    image: Image
    """uint8 [h, w, 3] RGB."""
    time_s: float


class Arm(Protocol):
    """A position-controlled arm with a gripper."""

    def state(self) -> ArmState:
        """Read the current state."""
        ...

    def servo(self, pose: Pose, gripper_open: float, period_s: float) -> None:
        """Move towards a pose; called once per period."""
        ...

    def hold(self) -> None:
        """Stand still until the next `servo`."""
        ...

    def stop(self) -> None:
        """Stop and accept no more commands; may be called repeatedly."""
        ...


class Camera(Protocol):
    """One camera."""

    def read(self) -> Frame:
        """Give the newest image."""
        ...


class Clock(Protocol):
    """Time in seconds."""

    def now(self) -> float:
        """Give the current time."""
        ...

    def wait_until(self, time_s: float) -> None:
        """Wait until a time; return immediately if it has passed."""
        ...
