"""Interfaces of evaluation: observations and policies, independent of simulators and the network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from vita_data.action_convention import libero_opening, right_arm_state
from vita_data.errors import RequestError
from vita_data.slots import STATE_DIM
from vita_data.types import Bool, CameraRole, Float32, Float64, Image

API_KEY = "VITA_API_KEY"
"""Environment variable with the key that a server requires and `vita-eval` sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotState:
    """The 64 canonical state slots in physical units, and their mask (vita_data/README.md)."""

    values: Float32
    mask: Bool


NO_STATE = RobotState(values=np.zeros(STATE_DIM, np.float32), mask=np.zeros(STATE_DIM, bool))
"""State of a robot that reports none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Input of a policy."""

    images: Mapping[CameraRole, Image]
    """uint8 [h, w, 3] RGB, turned like the policy's training images."""
    instruction: str
    state: RobotState


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInfo:
    """Description of a policy: the convention of its actions, and the constants that it was trained with."""

    name: str
    convention: str
    """`canonical`, or the source whose raw commands it outputs: `libero`, `calvin`, ..."""
    constants: Mapping[str, object] = field(default_factory=dict)
    """Constants from the shards' `extras`: scales, gripper commands, image orientation."""
    step: int | None = None
    """Number of training steps, if known."""
    sources: tuple[str, ...] = ()
    """Sources whose statistics it has, if known."""
    source: str | None = None
    """Source whose statistics it uses; None: the policy decides."""
    digest: str = ""
    """Digest of its weights, if known."""

    def as_json(self) -> dict[str, object]:
        """Give the description for results, as JSON values."""
        return {**asdict(self), "sources": list(self.sources)}


def with_source(info: PolicyInfo, asked: str | None) -> PolicyInfo:
    """Choose the statistics that a policy uses: the requested source, its convention's source, or the only source.

    Raises:
        RequestError: the policy does not have the source, or has several and none was requested.
    """
    known = info.sources
    if asked is not None and known and asked not in known:
        raise RequestError(f"--source {asked}: {info.name} has statistics only for {', '.join(known)}")
    if asked is None and len(known) > 1 and info.convention not in known:
        raise RequestError(f"--source NAME is required: {info.name} has statistics for {', '.join(known)}")
    own = info.convention if info.convention in known else None
    return replace(info, source=asked or own)


class Policy(Protocol):
    """Anything that maps an observation to a chunk of actions."""

    @property
    def info(self) -> PolicyInfo:
        """Convention and constants; they never change."""
        ...

    def reset(self) -> None:
        """Start a new episode."""
        ...

    def act(self, observation: Observation) -> Float64:
        """Predict a chunk [H, 7] in the policy's convention; H may be 1."""
        ...


@runtime_checkable
class DrawnPolicy(Policy, Protocol):
    """A policy whose actions are drawn at random."""

    def restart(self, episode: str) -> None:
        """Begin the stream of an episode: the same name gives the same actions, whatever was drawn before."""
        ...


def restart(policy: Policy, episode: str) -> None:
    """Make an episode independent of those before it, if the policy draws at random."""
    if isinstance(policy, DrawnPolicy):
        policy.restart(episode)


def single_arm_state(
    *, xyz_m: Float64, rotation: Float64, gripper_open: float, joints_rad: Float64 | None = None
) -> RobotState:
    """Make the state of a right arm; the arguments are those of `vita_data.action_convention.right_arm_state`."""
    values, mask = right_arm_state(xyz_m, rotation, gripper_open, joints_rad)
    return RobotState(values=values, mask=mask)


def libero_state(
    *, xyz_m: Float64, quaternion_xyzw: Float64, fingers_m: Float64, joints_rad: Float64 | None = None
) -> RobotState:
    """Convert what robosuite's Panda reports to state slots, as `vita_data.sources.libero.source` does.

    Args:
        xyz_m: grip site [3], world frame.
        quaternion_xyzw: of the hand body [4].
        fingers_m: positions [2] of the two fingers.
        joints_rad: [7].
    """
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    return single_arm_state(
        xyz_m=xyz_m,
        rotation=Rotation.from_quat(quaternion_xyzw).as_matrix(),
        gripper_open=libero_opening(fingers_m),
        joints_rad=joints_rad,
    )
