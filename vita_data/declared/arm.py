"""Turns the declared columns of a table into arms."""

from collections.abc import Mapping

import numpy as np

from vita_data.declared.declaration import (
    ArmColumns,
    Columns,
    Frame,
    Gripper,
    JointAction,
    Joints,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.declared.kinematics import Kinematics
from vita_data.errors import EpisodeError
from vita_data.geometry import (
    euler_xyz_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler_xyz,
    matrix_from_quat_xyzw,
    matrix_from_rot6d,
    quat_fault,
    rot6d_fault,
    rotation_delta,
)
from vita_data.types import Arm, ArmAction, Float64, PoseDelta, PoseTarget

Table = Mapping[str, Float64]
"""Each used column [T, D]."""


def read_arm(declared: ArmColumns, state: Table, action: Table, *, name: str) -> Arm:
    """Read one arm.

    Args:
        declared: the meaning of the columns.
        state: the rows of the observations.
        action: the rows of the actions, one for each observation.
        name: the episode, for messages.

    Raises:
        EpisodeError: numbers are not a rotation, or a joint is beyond its limits.
    """
    xyz = None if declared.position is None else take_position(declared.position, state)
    turn = None if declared.rotation is None else take_rotation(declared.rotation, state, name)
    joints = None if declared.joints is None else take_joints(declared.joints, state)
    recorded_xyz, recorded_turn = None, None
    if declared.kinematics is not None and joints is not None:
        recorded_xyz, recorded_turn = xyz, turn
        xyz, turn = declared.kinematics.poses(joints, what="measured", name=name)
    return Arm(
        xyz_m=xyz,
        rotation=turn,
        recorded_xyz_m=recorded_xyz,
        recorded_rotation=recorded_turn,
        gripper_open=None if declared.gripper is None else take_opening(declared.gripper, state),
        joint_position_rad=joints,
        joint_velocity_rad_s=None if declared.joint_speeds is None else take_joints(declared.joint_speeds, state),
        action=_joint_action(declared.action, joints, action, declared.kinematics, name)
        if isinstance(declared.action, JointAction)
        else _pose_action(declared.action, xyz, turn, action, name),
    )


def _joint_action(
    declared: JointAction, measured: Float64 | None, table: Table, kinematics: Kinematics | None, name: str
) -> ArmAction:
    target = take_joints(declared.joints, table)
    is_delta = declared.motion is Motion.DELTA
    if is_delta and measured is not None:
        target = measured + target
    motion = None
    if kinematics is not None:
        xyz, turn = kinematics.poses(target, what="commanded", name=name)
        motion = PoseTarget(xyz_m=xyz, rotation=turn)
    opening = None if declared.gripper is None else take_opening(declared.gripper, table)
    return ArmAction(motion=motion, gripper_open=opening, joint_target_rad=target, has_joint_deltas=is_delta)


def _pose_action(declared: PoseAction, xyz: Float64 | None, turn: Float64 | None, table: Table, name: str) -> ArmAction:
    return ArmAction(
        motion=_motion(declared, xyz, turn, table, name),
        gripper_open=take_opening(declared.gripper, table),
        joint_target_rad=None if declared.joints is None else take_joints(declared.joints, table),
    )


def _motion(
    declared: PoseAction, xyz: Float64 | None, turn: Float64 | None, table: Table, name: str
) -> PoseTarget | PoseDelta:
    moved = take_position(declared.position, table)
    if declared.motion is Motion.EULER_DIFFERENCE and turn is not None:
        angles = take_values(declared.rotation, table) * declared.rotation.unit_rad
        target = matrix_from_euler_xyz(euler_xyz_from_matrix(turn) + angles)
        return PoseDelta(xyz_m=moved, rotation=rotation_delta(turn, target))
    turned = take_rotation(declared.rotation, table, name)
    if declared.motion is Motion.ABSOLUTE:
        return PoseTarget(xyz_m=moved, rotation=turned)
    if declared.frame is Frame.HAND and turn is not None:
        back = np.swapaxes(turn, -1, -2)
        return PoseDelta(xyz_m=np.einsum("tij,tj->ti", turn, moved), rotation=turn @ turned @ back)
    return PoseDelta(xyz_m=moved, rotation=turned)


def take_values(columns: Columns, table: Table) -> Float64:
    """Take the numbers of declared columns as stored."""
    return table[columns.key][:, columns.values]


def take_position(columns: Position, table: Table) -> Float64:
    """Take positions [T, 3] in m."""
    return _clipped(take_values(columns, table), columns.limit) * columns.unit_m


def _clipped(values: Float64, limit: float | None) -> Float64:
    return values if limit is None else np.clip(values, -limit, limit)


def take_joints(columns: Joints, table: Table) -> Float64:
    """Take joints [T, n] in rad."""
    return take_values(columns, table) * columns.unit_rad


def take_opening(columns: Gripper, table: Table) -> Float64:
    """Take openings [T], 0 closed .. 1 open."""
    opening = (take_values(columns, table)[:, 0] - columns.closed) / (columns.open - columns.closed)
    return np.asarray(np.clip(opening, 0.0, 1.0), np.float64)


def take_rotation(columns: Rotation, table: Table, name: str) -> Float64:
    """Take rotations [T, 3, 3]; NaN where a row is not finite; raises EpisodeError for a row that is none."""
    values = _clipped(take_values(columns, table), columns.limit)
    if not np.isfinite(values).all():
        return np.full((len(values), 3, 3), np.nan)  # dropped as not finite
    match columns.form:
        case RotationForm.AXIS_ANGLE:
            return matrix_from_axis_angle(values * columns.unit_rad)
        case RotationForm.EULER_XYZ:
            return matrix_from_euler_xyz(values * columns.unit_rad)
    if fault := rot6d_fault(values) if columns.form is RotationForm.ROT6D else quat_fault(values):
        raise EpisodeError(f"{name}: {columns.key!r}, declared as {columns.form}, has {fault}")
    match columns.form:
        case RotationForm.ROT6D:
            return matrix_from_rot6d(values)
        case RotationForm.QUAT_WXYZ:
            return matrix_from_quat_xyzw(np.roll(values, -1, axis=1))
    return matrix_from_quat_xyzw(values)
