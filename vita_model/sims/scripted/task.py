"""What a simulator with a scripted expert offers: robosuite, or the tabletop that needs no simulator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vita_data.types import CameraRole, Float64, Image
from vita_model.sims.scripted.expert import Scene

HZ = 20
IMAGE_SIZE = 128
"""As in LIBERO's official files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task: the simulator's environment, instruction, expert and maximum steps."""

    name: str
    environment: str
    instruction: str
    max_steps: int
    expert: Callable[[Scene], Float64]
    cubes: tuple[str, ...]
    """Names of the objects: the cube to pick up, then the others."""
    packages: tuple[str, ...] = ()
    """What a simulation depends on; results have the versions."""

    @property
    def file_stem(self) -> str:
        """The instruction in the form of LIBERO's file names."""
        return self.instruction.replace(" ", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proprioception:
    """State reported by the arm."""

    xyz_m: Float64
    """Position of the grip site [3] in the world frame."""
    quaternion_xyzw: Float64
    """Orientation of the hand body [4]."""
    fingers_m: Float64
    joints_rad: Float64


class ScriptedTask(Protocol):
    """A simulator of one task; an episode depends only on its seed and the commands."""

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        ...

    def reset(self, seed: int) -> None:
        """Start the episode of a seed."""
        ...

    def step(self, command: Float64) -> None:
        """Execute one command [7] for 1/20 s."""
        ...

    @property
    def is_success(self) -> bool:
        """Whether the task is currently solved."""
        ...

    def images(self) -> dict[CameraRole, Image]:
        """Render every camera: uint8 [128, 128, 3] RGB, upside down."""
        ...

    def proprioception(self) -> Proprioception:
        """Read the arm."""
        ...

    def scene(self) -> Scene:
        """Read the poses for the expert."""
        ...

    def simulator_state(self) -> Float64:
        """Flatten the state, as LIBERO's recorder stores it."""
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


def no_op() -> Float64:
    """Give the command that stays with open gripper, as LIBERO's loop sends it while objects settle."""
    return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
