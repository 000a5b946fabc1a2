"""What the control loop needs of an arm, of cameras and of time."""

from dataclasses import dataclass
from typing import Protocol

from vita_data.types import Float64, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where the tool is: metres and a rotation matrix [3, 3], robot base frame."""

    xyz_m: Float64
    rotation: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmState:
    """What the arm reports."""

    pose: Pose
    joints_rad: Float64
    """[6]."""
    gripper_open: float
    """0 closed .. 1 open."""
    is_stopped: bool
    """The robot's own safety has stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture and when it was taken, in the loop's clock."""

    image: Image
    """uint8 [h, w, 3] RGB."""
    time_s: float


class Arm(Protocol):
    """A position-controlled arm with a gripper."""

    def state(self) -> ArmState:
        """Read it now."""
        ...

    def servo(self, pose: Pose, gripper_open: float, period_s: float) -> None:
        """Go on towards a pose; called once a period."""
        ...

    def hold(self) -> None:
        """Stand still until the next `servo`."""
        ...

    def stop(self) -> None:
        """Stand still and take no more commands; may be called twice."""
        ...


class Camera(Protocol):
    """One camera."""

    def read(self) -> Frame:
        """Give the newest picture."""
        ...


class Clock(Protocol):
    """Time in seconds."""

    def now(self) -> float:
        """Tell the time."""
        ...

    def wait_until(self, time_s: float) -> None:
        """Wait; return at once where that time has passed."""
        ...
