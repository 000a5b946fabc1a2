"""Writes small datasets that are as declared: the inverse of reading them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vita_data.action_convention import turned
from vita_data.declared.declaration import (
    ArmColumns,
    Columns,
    Declaration,
    Frame,
    Gripper,
    JointAction,
    LeRobotDeclaration,
    Motion,
    PoseAction,
    Rotation,
    RotationForm,
)
from vita_data.errors import RequestError
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.lerobot.write_v3 import Cut, write_lerobot_v3
from vita_data.formats.toy import ToyArm, toy_arm, toy_frames
from vita_data.geometry import (
    axis_angle_from_matrix,
    euler_xyz_from_matrix,
    quat_xyzw_from_matrix,
    rot6d_from_matrix,
    rotation_delta,
    wrap_angle,
)
from vita_data.types import Float64, Image

_TEXTS = ("put the cup on the shelf", "push the red block to the left", "put the cup on the shelf")
_NUM_ROWS = (30, 26, 34)
_SIDE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyDemo:
    """One demonstration of a toy dataset, in no format yet."""

    text: str
    columns: Mapping[str, Float64]
    """[T, D]"""
    frames: Mapping[str, list[Image]]
    """RGB images by camera."""

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), next(iter(self.frames.values()), ())))


def write_declared_toy(declared: LeRobotDeclaration, root: str) -> None:
    """Write three episodes in format v3.0; their data and videos are cut differently.

    Raises:
        RequestError: the declared rate cannot be written.
    """
    fps = round(declared.labelled_fps)
    if fps != declared.labelled_fps:
        raise RequestError(f"{declared.name}: toy videos need a whole labelled_fps, got {declared.labelled_fps:g}")
    texts = declared.text_column
    episodes = [
        ToyLeRobotEpisode(
            text=demo.text,
            meta={},
            columns=demo.columns,
            strings={} if texts is None else {texts: [demo.text] * demo.num_rows},
            videos=demo.frames,
        )
        for demo in toy_demos(declared)
    ]
    write_lerobot_v3(root, fps=fps, info={}, episodes=episodes, cut=Cut(per_data_file=2, per_video_file=3))


def toy_demos(declared: Declaration) -> list[ToyDemo]:
    """Make three demonstrations that are as declared."""
    return [_demo(declared, number) for number in range(len(_TEXTS))]


def _demo(declared: Declaration, number: int) -> ToyDemo:
    num_rows, late = _NUM_ROWS[number], declared.rows_to_action
    columns = {key: np.zeros((num_rows, width)) for key, width in declared.columns.items()}
    arms: list[ToyArm] = []
    for seed, arm in enumerate((declared.left, declared.right)):
        if arm is None:
            continue
        made = _by_joints(arm, toy_arm(num_rows + 1, hz=declared.hz, seed=2 * number + seed), hz=declared.hz)
        arms.insert(0, made)
        _put(columns, _state_values(arm, made), num_rows=num_rows, at=0)
        _put(columns, _action_values(arm.action, made), num_rows=num_rows - late, at=late)
    return ToyDemo(
        text=_TEXTS[number],
        columns=columns,
        frames={
            camera.key: [
                turned(frame, camera.turned)
                for frame in toy_frames(
                    _SIDE, _SIDE, range(num_rows), camera=place, episode=number, arms=arms, role=camera.role
                )
            ]
            for place, camera in enumerate(declared.cameras)
        },
    )


def _by_joints(arm: ArmColumns, made: ToyArm, *, hz: float) -> ToyArm:
    """Move a toy arm with kinematics as its joints say."""
    if arm.kinematics is None:
        return made
    joints = arm.kinematics.within_limits(made.joint_position_rad[:, : len(arm.kinematics.joints)])
    xyz, rotation = arm.kinematics.poses(joints, what="measured", name="toy")
    speeds = np.gradient(joints, axis=0) * hz
    return replace(made, xyz_m=xyz, rotation=rotation, joint_position_rad=joints, joint_velocity_rad_s=speeds)


_Values = list[tuple[Columns, Float64]]


def _put(table: dict[str, Float64], values: _Values, *, num_rows: int, at: int) -> None:
    for columns, found in values:
        table[columns.key][at : at + num_rows, columns.values] = found[:num_rows]


def _state_values(arm: ArmColumns, made: ToyArm) -> _Values:
    values: _Values = []
    if arm.position is not None:
        values.append((arm.position, made.xyz_m / arm.position.unit_m))
    if arm.rotation is not None:
        values.append((arm.rotation, _numbers(arm.rotation, made.rotation)))
    if arm.gripper is not None:
        values.append((arm.gripper, _gripper(arm.gripper, made.gripper_open)))
    if arm.joints is not None:
        values.append((arm.joints, made.joint_position_rad[:, : arm.joints.count] / arm.joints.unit_rad))
    if arm.joint_speeds is not None:
        speeds = made.joint_velocity_rad_s[:, : arm.joint_speeds.count]
        values.append((arm.joint_speeds, speeds / arm.joint_speeds.unit_rad))
    return values


def _action_values(action: PoseAction | JointAction, made: ToyArm) -> _Values:
    return _joint_values(action, made) if isinstance(action, JointAction) else _pose_values(action, made)


def _joint_values(action: JointAction, made: ToyArm) -> _Values:
    angles = made.joint_position_rad[:, : action.joints.count] / action.joints.unit_rad
    values: _Values = [(action.joints, np.diff(angles, axis=0) if action.motion is Motion.DELTA else angles[1:])]
    if action.gripper is not None:
        values.append((action.gripper, _gripper(action.gripper, made.gripper_open[1:])))
    return values


def _pose_values(action: PoseAction, made: ToyArm) -> _Values:
    moved, numbers = made.xyz_m[1:], _turn(action, made)
    if action.motion is not Motion.ABSOLUTE:
        moved = np.diff(made.xyz_m, axis=0)
    if action.frame is Frame.HAND:
        moved = np.einsum("tji,tj->ti", made.rotation[:-1], moved)
    values: _Values = [
        (action.position, moved / action.position.unit_m),
        (action.rotation, numbers),
        (action.gripper, _gripper(action.gripper, made.gripper_open[1:])),
    ]
    if action.joints is not None:
        joints = made.joint_position_rad[1:, : action.joints.count] / action.joints.unit_rad
        values.append((action.joints, joints))
    return values


def _turn(action: PoseAction, made: ToyArm) -> Float64:
    before, after = made.rotation[:-1], made.rotation[1:]
    if action.motion is Motion.EULER_DIFFERENCE:
        angles = euler_xyz_from_matrix(after) - euler_xyz_from_matrix(before)
        return wrap_angle(angles) / action.rotation.unit_rad
    if action.motion is Motion.ABSOLUTE:
        return _numbers(action.rotation, after)
    if action.frame is Frame.HAND:
        return _numbers(action.rotation, np.swapaxes(before, -1, -2) @ after)
    return _numbers(action.rotation, rotation_delta(before, after))


def _gripper(columns: Gripper, opening: Float64) -> Float64:
    return (columns.closed + opening * (columns.open - columns.closed))[:, None]


def _numbers(columns: Rotation, rotation: Float64) -> Float64:
    match columns.form:
        case RotationForm.AXIS_ANGLE:
            return axis_angle_from_matrix(rotation) / columns.unit_rad
        case RotationForm.EULER_XYZ:
            return euler_xyz_from_matrix(rotation) / columns.unit_rad
        case RotationForm.ROT6D:
            return rot6d_from_matrix(rotation)
        case RotationForm.QUAT_WXYZ:
            return np.roll(quat_xyzw_from_matrix(rotation), 1, axis=1)
    return quat_xyzw_from_matrix(rotation)
