"""What evaluation passes around: an observation, a policy, a simulated episode. Knows no simulator and no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vita_data.types import CameraRole, Float64, Image

State = NDArray[np.float32]
STATE_SIZE = 64
_RIGHT = 24
"""First slot of the right arm, which a single arm fills (vita_data/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotState:
    """The 64 canonical state slots in physical units and which of them are real (vita_data/README.md)."""

    values: State
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a policy is asked with."""

    images: Mapping[CameraRole, Image]
    """uint8 [h, w, 3] RGB, turned as the policy's training images were."""
    instruction: str
    state: RobotState


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInfo:
    """What a policy says of itself: the convention of its actions, and the constants that it was trained with."""

    name: str
    convention: str
    """`canonical`, or the source whose raw commands it gives: `libero`, `calvin`, ..."""
    constants: Mapping[str, object] = field(default_factory=dict)
    """What the shards' `extras` say: scales, gripper commands, image orientation."""


class Policy(Protocol):
    """Whatever turns an observation into a chunk of actions."""

    @property
    def info(self) -> PolicyInfo:
        """Convention and constants; the same for the life of the policy."""
        ...

    def reset(self) -> None:
        """Forget what was seen: another episode begins."""
        ...

    def act(self, observation: Observation) -> Float64:
        """Give a chunk [H, 7] in the policy's convention; H may be 1."""
        ...


def single_arm_state(
    *, xyz_m: Float64, rotation: Float64, gripper_open: float, joints_rad: Float64 | None = None
) -> RobotState:
    """Fill the right arm's slots.

    Args:
        xyz_m: [3].
        rotation: matrix [3, 3].
        gripper_open: 0 closed .. 1 open.
        joints_rad: [n], n up to 7; None where the simulator does not tell.
    """
    values, mask = np.zeros(STATE_SIZE, np.float32), np.zeros(STATE_SIZE, np.bool_)
    pose = np.concatenate([xyz_m, rotation[:, 0], rotation[:, 1], [np.clip(gripper_open, 0.0, 1.0)]])
    joints = np.zeros(0) if joints_rad is None else np.asarray(joints_rad)
    filled = np.concatenate([pose, joints])
    values[_RIGHT : _RIGHT + len(filled)] = filled
    mask[_RIGHT : _RIGHT + len(filled)] = True
    return RobotState(values=values, mask=mask)


def libero_state(
    *, xyz_m: Float64, quaternion_xyzw: Float64, fingers_m: Float64, joints_rad: Float64 | None = None
) -> RobotState:
    """Turn what robosuite's Panda reports into state slots, as `vita_data.sources.libero` does.

    Args:
        xyz_m: grip site [3], world frame.
        quaternion_xyzw: of the hand body [4].
        fingers_m: positions [2] of the two fingers.
        joints_rad: [7].
    """
    return single_arm_state(
        xyz_m=xyz_m,
        rotation=Rotation.from_quat(quaternion_xyzw).as_matrix(),
        gripper_open=abs(float(fingers_m[0] - fingers_m[1])) / 0.08,
        joints_rad=joints_rad,
    )
