"""Converts canonical actions (vita_data/README.md) to a simulator's commands, with the constants of its source's clips.

A source writes the constants into `extras`; a checkpoint stores them beside the statistics.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from vita_data.errors import RequestError
from vita_data.geometry import (
    axis_angle_from_matrix,
    euler_xyz_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler_xyz,
    matrix_from_rot6d,
    rot6d_from_matrix,
    wrap_angle,
)
from vita_data.slots import RIGHT_STATE, STATE_DIM, STATE_ROT6D, within
from vita_data.types import Bool, Float32, Float64, Image, Json


class Turn(StrEnum):
    """How a command expresses a rotation."""

    AXIS_ANGLE = "axis-angle"
    """The rotation vector of the delta."""
    EULER_DIFFERENCE = "euler-difference"
    """The target's xyz Euler angles minus the present ones, wrapped."""


class Flip(StrEnum):
    """How a simulator's upside-down images are flipped before they are stored; evaluation does the same."""

    ROT180 = "rot180"
    VFLIP = "vflip"
    NONE = "none"


FLIP_STRIDES = {Flip.ROT180: (-1, -1), Flip.VFLIP: (-1, 1), Flip.NONE: (1, 1)}
"""Strides along rows and columns that flip an image this way."""
CANONICAL = "canonical"
"""The convention without a simulator: m, rad, gripper 1 = open."""
LIBERO_FINGERS_OPEN_M = 0.08
"""Distance between the open Panda fingers."""
_RIGHT_ROT6D = within(RIGHT_STATE, STATE_ROT6D)
"""Rotation of the right arm; a single arm uses the right arm's slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """What a command [7] of +-`limit` means.

    Assumes: a gripper command has one of two values: LIBERO reads only the sign, and CALVIN refuses anything else.
    """

    position_scale_m: float
    rotation_scale_rad: float
    turn: Turn
    gripper_open: float
    gripper_closed: float
    limit: float = 1.0
    flip: Flip = Flip.NONE

    @classmethod
    def of(cls, extras: Json) -> Self | None:
        """Read the constants from a clip's `extras`, as LIBERO and CALVIN write them; None if it has none."""
        known: Mapping[str, Any] = extras
        if "rel_actions_position_scale_m" in known:
            return cls(
                position_scale_m=known["rel_actions_position_scale_m"],
                rotation_scale_rad=known["rel_actions_euler_scale_rad"],
                turn=Turn.EULER_DIFFERENCE,
                gripper_open=known["gripper_open_command"],
                gripper_closed=known["gripper_closed_command"],
                limit=known["rel_actions_limit"],
            )
        if "position_scale_m" in known:
            return cls(
                position_scale_m=known["position_scale_m"],
                rotation_scale_rad=known["rotation_scale_rad"],
                turn=Turn(known["rotation"]),
                gripper_open=known["gripper_open_command"],
                gripper_closed=known["gripper_closed_command"],
                flip=Flip(known["orientation"]),
            )
        return None

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """Read the output of `as_json`."""
        known: dict[str, Any] = dict(values)
        return cls(**{**known, "turn": Turn(known["turn"]), "flip": Flip(known["flip"])})

    def as_json(self) -> Json:
        """Return the constants as JSON values."""
        return asdict(self)

    def commands(self, actions: Float32, state: Float32 | None = None) -> Float32:
        """Turn canonical actions [H, 7] into commands [H, 7].

        Args:
            actions: dx dy dz in m, droll dpitch dyaw in rad, gripper 0 closed to 1 open, per native step.
            state: [64] the present state (vita_data/README.md); its orientation is the start of Euler differences.

        Raises:
            RequestError: the convention needs the state, but none is given.
        """
        values = np.asarray(actions, np.float64)
        turned = matrix_from_euler_xyz(values[:, 3:6])
        moved = np.concatenate([values[:, :3] / self.position_scale_m, self._turns(turned, state)], axis=1)
        gripper = np.where(values[:, 6:] > 0.5, self.gripper_open, self.gripper_closed)
        return np.concatenate([np.clip(moved, -self.limit, self.limit), gripper], axis=1).astype(np.float32)

    def _turns(self, turned: Float64, state: Float32 | None) -> Float64:
        if self.turn is Turn.AXIS_ANGLE:
            return axis_angle_from_matrix(turned) / self.rotation_scale_rad
        if state is None:
            raise RequestError(
                "this convention's rotations are differences of Euler angles, which need the state; give the state"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            reached = [matrix_from_rot6d(state[_RIGHT_ROT6D])]
        if not np.isfinite(reached[0]).all():
            raise RequestError(
                "this convention's rotations are differences of Euler angles, which need the state's orientation "
                f"(slots {_RIGHT_ROT6D.start} to {_RIGHT_ROT6D.stop - 1}); found {state[_RIGHT_ROT6D].tolist()}"
            )
        for turn in turned:
            reached.append(turn @ reached[-1])
        angles = euler_xyz_from_matrix(np.stack(reached))
        return wrap_angle(np.diff(angles, axis=0)) / self.rotation_scale_rad

    def image(self, pixels: Image) -> Image:
        """Flip a simulator's image [h, w, 3] as the images of the training data were flipped."""
        return turned(pixels, self.flip)


def turned(pixels: Image, flip: Flip) -> Image:
    """Flip an image [h, w, 3]."""
    down, right = FLIP_STRIDES[flip]
    return np.ascontiguousarray(pixels[::down, ::right])


def right_arm_state(
    xyz_m: Float64, rotation: Float64, gripper_open: float, joints_rad: Float64 | None = None
) -> tuple[Float32, Bool]:
    """Fill the right arm's slots of a state [64] (vita_data/README.md); return the state and its mask [64].

    Args:
        xyz_m: [3].
        rotation: matrix [3, 3].
        gripper_open: 0 closed .. 1 open.
        joints_rad: [n], n up to 7; None if unknown.
    """
    joints = np.zeros(0) if joints_rad is None else np.asarray(joints_rad)
    opening = [np.clip(gripper_open, 0.0, 1.0)]
    filled = np.concatenate([xyz_m, rot6d_from_matrix(np.asarray(rotation, np.float64)), opening, joints])
    state, mask = np.zeros(STATE_DIM, np.float32), np.zeros(STATE_DIM, bool)
    slots = slice(RIGHT_STATE, RIGHT_STATE + len(filled))
    state[slots], mask[slots] = filled, True
    return state, mask


def libero_opening(fingers_m: Float64) -> float:
    """Convert the positions [2] of a Panda's fingers to 0 closed .. 1 open, as the source libero does."""
    return abs(float(fingers_m[0]) - float(fingers_m[1])) / LIBERO_FINGERS_OPEN_M


def state_from_libero(values: Float32) -> tuple[Float32, Bool]:
    """Convert LIBERO's proprioception [8] (position, rotation vector, two fingers) into a state [64] and its mask.

    Source: openpi, examples/libero: eef_pos, axis-angle of eef_quat, gripper_qpos; the slots are those of the source.
    """
    # The arrays of a message are read-only, and scipy refuses read-only float64 arrays, so they are copied.
    rotation = matrix_from_axis_angle(np.array(values[None, 3:6], np.float64))[0]
    return right_arm_state(np.asarray(values[:3], np.float64), rotation, libero_opening(np.asarray(values[6:8])))


def require_convention(asked: str, known: Collection[str]) -> None:
    """Refuse a convention that is neither canonical nor one of a checkpoint's sources.

    Raises:
        RequestError: it is neither; names the available ones.
    """
    if asked != CANONICAL and asked not in known:
        raise RequestError(f"--convention {asked}: not in this checkpoint, which has: {', '.join((CANONICAL, *known))}")
