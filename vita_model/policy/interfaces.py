"""What evaluation passes around: an observation, a policy, a simulated episode. Knows no simulator and no network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import numpy as np

from vita_data.action_convention import libero_opening, right_arm_state
from vita_data.errors import RequestError
from vita_data.types import STATE_DIM, Bool, CameraRole, Float32, Float64, Image

API_KEY = "VITA_API_KEY"
"""Name in the environment of the key that a server wants and `vita-eval` sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotState:
    """The 64 canonical state slots in physical units and which of them are real (vita_data/README.md)."""

    values: Float32
    mask: Bool


NO_STATE = RobotState(values=np.zeros(STATE_DIM, np.float32), mask=np.zeros(STATE_DIM, bool))
"""Of a robot that does not tell."""


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
    step: int | None = None
    """Training steps behind it, where it says so."""
    sources: tuple[str, ...] = ()
    """Whose statistics it has, where it says so."""
    source: str | None = None
    """Whose of them it uses; None where that is its own business."""
    digest: str = ""
    """Of its weights, where it says so."""

    def as_json(self) -> dict[str, object]:
        """Give what results hold of a policy, as JSON values."""
        return {**asdict(self), "sources": list(self.sources)}


def with_source(info: PolicyInfo, asked: str | None) -> PolicyInfo:
    """Settle whose statistics a policy is to use: those asked for, its convention's own, or the only ones.

    Raises:
        RequestError: it has not those, or there are several to choose from, as far as it says which it has.
    """
    known = info.sources
    if asked is not None and known and asked not in known:
        raise RequestError(f"--source {asked}: {info.name} has statistics only for {', '.join(known)}")
    if asked is None and len(known) > 1 and info.convention not in known:
        raise RequestError(f"--source NAME is required: {info.name} has statistics for {', '.join(known)}")
    own = info.convention if info.convention in known else None
    return replace(info, source=asked or own)


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
    """Fill the right arm's slots; the arguments are those of `vita_data.action_convention.right_arm_state`."""
    values, mask = right_arm_state(xyz_m, rotation, gripper_open, joints_rad)
    return RobotState(values=values, mask=mask)


def libero_state(
    *, xyz_m: Float64, quaternion_xyzw: Float64, fingers_m: Float64, joints_rad: Float64 | None = None
) -> RobotState:
    """Turn what robosuite's Panda reports into state slots, as `vita_data.sources.libero.source` does.

    Args:
        xyz_m: grip site [3], world frame.
        quaternion_xyzw: of the hand body [4].
        fingers_m: positions [2] of the two fingers.
        joints_rad: [7].
    """
    from scipy.spatial.transform import Rotation  # takes longer to import than all the rest

    return single_arm_state(
        xyz_m=xyz_m,
        rotation=Rotation.from_quat(quaternion_xyzw).as_matrix(),
        gripper_open=libero_opening(fingers_m),
        joints_rad=joints_rad,
    )
