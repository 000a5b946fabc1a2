"""Converts measured poses and raw actions to the unified 40-slot action and 64-slot state with their masks.

The slots are those of vita_data/README.md. Rotations are composed as matrices; Euler angles are used only for the
finished delta.
"""

from collections.abc import Mapping

import numpy as np

from vita_data.geometry import euler_xyz_from_matrix, rot6d_from_matrix, rotation_delta
from vita_data.slots import (
    ACTION_DIM,
    BASE_ACTION,
    BASE_STATE,
    GRIPPER,
    JOINT_POSITIONS,
    JOINT_TARGETS,
    JOINT_VELOCITIES,
    LEFT_ACTION,
    LEFT_STATE,
    NUM_JOINTS,
    RIGHT_ACTION,
    RIGHT_STATE,
    STATE_DIM,
    STATE_GRIPPER,
    STATE_ROT6D,
)
from vita_data.types import Arm, ArmAction, Bool, Episode, Float64, PoseTarget, Track


def action_track(episode: Episode) -> Track | None:
    """Make the action [T, 40] of an episode; None if no limb has one.

    Raises:
        ValueError: a target pose lacks the measured pose that its delta starts from.
    """
    slots: dict[int, Float64] = {}
    for arm, start in ((episode.left, LEFT_ACTION), (episode.right, RIGHT_ACTION)):
        if arm is not None and arm.action is not None:
            slots.update(_arm_action(arm, arm.action, start))
    if episode.base is not None and episode.base.delta is not None:
        slots[BASE_ACTION] = episode.base.delta
    return _track(slots, num_rows=len(episode.step_index), dim=ACTION_DIM)


def state_track(episode: Episode) -> Track | None:
    """Make the state [T, 64] of an episode; None if nothing was measured."""
    slots: dict[int, Float64] = {}
    for arm, start in ((episode.left, LEFT_STATE), (episode.right, RIGHT_STATE)):
        if arm is not None:
            slots.update(_arm_state(arm, start))
    if episode.base is not None and episode.base.pose is not None:
        slots[BASE_STATE] = episode.base.pose
    return _track(slots, num_rows=len(episode.step_index), dim=STATE_DIM)


def is_finite(episode: Episode) -> bool:
    """Tell whether every measured and commanded value is a number; checked before rotations are composed."""
    arms = [arm for arm in (episode.left, episode.right) if arm is not None]
    actions = [arm.action for arm in arms if arm.action is not None]
    values = [(arm.xyz_m, arm.rotation, arm.gripper_open) for arm in arms]
    values += [(arm.joint_position_rad, arm.joint_velocity_rad_s, None) for arm in arms]
    motions = [action.motion for action in actions if action.motion is not None]
    values += [(motion.xyz_m, motion.rotation, None) for motion in motions]
    values += [(action.gripper_open, action.joint_target_rad, None) for action in actions]
    if episode.base is not None:
        values.append((episode.base.pose, episode.base.delta, None))
    return all(np.isfinite(array).all() for group in values for array in group if array is not None)


def arm_delta(arm: Arm, action: ArmAction) -> Float64:
    """Compose the canonical motion [T, 6] of one arm: metres and extrinsic xyz Euler radians per native step.

    Raises:
        ValueError: the action has no motion, or a target pose lacks a measured pose.
    """
    motion = action.motion
    if motion is None:
        raise ValueError("an action of joint targets has no canonical motion")
    if isinstance(motion, PoseTarget):
        if arm.xyz_m is None or arm.rotation is None:
            raise ValueError("a target pose needs the measured pose that its delta starts from")
        xyz, turn = motion.xyz_m - arm.xyz_m, rotation_delta(arm.rotation, motion.rotation)
    else:
        xyz, turn = motion.xyz_m, motion.rotation
    return np.concatenate([xyz, euler_xyz_from_matrix(turn)], axis=1)


def valid_rows(track: Track, *, max_step_m: float, max_step_rad: float) -> Bool:
    """Return the rows [T] whose arm motion is possible for a robot in one native step.

    The rotation is measured by its angle about its axis, not by single Euler angles.
    """
    valid = np.ones(len(track.values), bool)
    for start in (LEFT_ACTION, RIGHT_ACTION):
        if not track.mask[start]:
            continue
        motion = track.values[:, start : start + 6]
        with np.errstate(over="ignore"):
            valid &= np.linalg.norm(motion[:, :3], axis=1) <= max_step_m
        valid &= _turn_rad(motion[:, 3:].astype(np.float64)) <= max_step_rad
    return valid


def _turn_rad(euler_rad: Float64) -> Float64:
    """Compute the angle [T] of the rotation by extrinsic xyz Euler angles [T, 3] about its axis."""
    # The real part of the product of the three half-angle quaternions.
    real = np.cos(euler_rad / 2).prod(axis=1) + np.sin(euler_rad / 2).prod(axis=1)
    return np.asarray(2 * np.arccos(np.minimum(np.abs(real), 1.0)), np.float64)


def row_ranges(rows: Bool) -> tuple[tuple[int, int], ...]:
    """Convert a row mask [T] to half-open ranges."""
    if rows.size and rows.all():
        return ((0, len(rows)),)
    edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0))
    return tuple((int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def _arm_action(arm: Arm, action: ArmAction, start: int) -> Mapping[int, Float64]:
    slots: dict[int, Float64] = {}
    if action.motion is not None:
        slots[start] = arm_delta(arm, action)
    if action.gripper_open is not None:
        slots[start + GRIPPER] = np.clip(action.gripper_open, 0.0, 1.0)[:, None]
    if action.joint_target_rad is not None:
        slots[start + JOINT_TARGETS] = action.joint_target_rad[:, :NUM_JOINTS]
    return slots


def _arm_state(arm: Arm, start: int) -> Mapping[int, Float64]:
    slots: dict[int, Float64] = {}
    if arm.xyz_m is not None:
        slots[start] = arm.xyz_m
    if arm.rotation is not None:
        slots[start + STATE_ROT6D.start] = rot6d_from_matrix(arm.rotation)
    if arm.gripper_open is not None:
        slots[start + STATE_GRIPPER] = np.clip(arm.gripper_open, 0.0, 1.0)[:, None]
    if arm.joint_position_rad is not None:
        slots[start + JOINT_POSITIONS] = arm.joint_position_rad[:, :NUM_JOINTS]
    if arm.joint_velocity_rad_s is not None:
        slots[start + JOINT_VELOCITIES] = arm.joint_velocity_rad_s[:, :NUM_JOINTS]
    return slots


def _track(slots: Mapping[int, Float64], *, num_rows: int, dim: int) -> Track | None:
    if not slots:
        return None
    values, mask = np.zeros((num_rows, dim), np.float32), np.zeros(dim, bool)
    for start, columns in slots.items():
        values[:, start : start + columns.shape[1]] = columns
        mask[start : start + columns.shape[1]] = True
    return Track(values=values, mask=mask)
