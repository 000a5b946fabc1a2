"""Rebuilds the declared commands of an arm from the stored actions of a clip."""

from collections.abc import Iterator

import numpy as np

from vita_data.declared.arm import Table, take_joints, take_opening, take_position, take_rotation, take_values
from vita_data.declared.declaration import ArmColumns, Declaration, Frame, JointAction, Motion, PoseAction
from vita_data.declared.rows import pair_rows, require_rows, rows_of_clip
from vita_data.geometry import euler_xyz_from_matrix, wrap_angle
from vita_data.slots import LEFT_ACTION, LEFT_STATE, RIGHT_ACTION, RIGHT_STATE
from vita_data.stored_actions import (
    hand_rotation,
    hand_xyz,
    joint_positions,
    joint_targets,
    moves,
    openings,
    rotation_pair,
    turns,
)
from vita_data.types import Clip, CommandPair, Float64


def compare_columns(declared: Declaration, clip: Clip, columns: Table, *, name: str) -> tuple[CommandPair, ...]:
    """Compare the commands of a clip with the columns of its episode, which have all rows of it.

    Raises:
        EpisodeError: the columns differ in length, or lack a row of the clip; `name` is the episode's.
    """
    num_rows = require_rows(columns, {}, name=name)
    rows = pair_rows(columns, num_rows, rows_to_action=declared.rows_to_action)
    return tuple(compare_arms(declared, clip, rows_of_clip(rows, clip, name=name)))


def compare_arms(declared: Declaration, clip: Clip, table: Table) -> Iterator[CommandPair]:
    """Compare the commands of all declared arms; `table` has the rows of the clip's actions, by column."""
    for side, arm, action_at, state_at in (
        ("left", declared.left, LEFT_ACTION, LEFT_STATE),
        ("right", declared.right, RIGHT_ACTION, RIGHT_STATE),
    ):
        if arm is not None:
            yield from compare_arm(arm, clip, table, action_at=action_at, state_at=state_at, side=side)


def compare_arm(
    declared: ArmColumns, clip: Clip, table: Table, *, action_at: int, state_at: int, side: str
) -> Iterator[CommandPair]:
    """Compare one arm's commands in metres, radians and openings.

    Args:
        declared: the meaning of the columns.
        clip: the clip.
        table: the rows of the clip's actions, by column.
        action_at: where the arm's action begins.
        state_at: where its state begins.
        side: its name.
    """
    action = declared.action
    if isinstance(action, PoseAction):
        yield from _compare_motion(action, clip, table, action_at, state_at, side)
    if action.gripper is not None:
        opening = take_opening(action.gripper, table)[:, None]
        yield CommandPair(name=f"{side} gripper (1 opens)", recorded=opening, rebuilt=openings(clip, action_at))
    if action.joints is not None:
        joints = take_joints(action.joints, table)
        targets = joint_targets(clip, action_at)[:, : joints.shape[1]]
        reached = joints
        if isinstance(action, JointAction) and action.motion is Motion.DELTA:
            measured = joint_positions(clip, state_at)[:, : targets.shape[1]]
            targets, reached = targets - measured, joints + measured
        yield CommandPair(name=f"{side} joints (rad)", recorded=joints[:, : targets.shape[1]], rebuilt=targets)
        if declared.kinematics is not None:
            xyz, rotation = declared.kinematics.poses(reached, what="commanded", name=clip.episode)
            yield from _compare_pose(xyz, rotation, clip, action_at, state_at, side)


def _compare_motion(
    action: PoseAction, clip: Clip, table: Table, action_at: int, state_at: int, side: str
) -> Iterator[CommandPair]:
    moved, turned = moves(clip, action_at), turns(clip, action_at)
    recorded = take_position(action.position, table)
    if action.motion is Motion.EULER_DIFFERENCE:
        before = hand_rotation(clip, state_at)
        angles = take_values(action.rotation, table) * action.rotation.unit_rad
        rebuilt = euler_xyz_from_matrix(turned @ before) - euler_xyz_from_matrix(before)
        off = wrap_angle(rebuilt - angles)  # angles that differ by a whole turn are the same
        yield CommandPair(name=f"{side} displacement (m)", recorded=recorded, rebuilt=moved)
        yield CommandPair(name=f"{side} Euler difference (rad)", recorded=angles, rebuilt=angles + off)
        return
    rotation = take_rotation(action.rotation, table, clip.episode)
    if action.motion is Motion.ABSOLUTE:
        yield from _compare_pose(recorded, rotation, clip, action_at, state_at, side)
        return
    if action.frame is Frame.HAND:
        hand = hand_rotation(clip, state_at)
        back = np.swapaxes(hand, -1, -2)
        moved, turned = np.einsum("tij,tj->ti", back, moved), back @ turned @ hand
    yield CommandPair(name=f"{side} position (m)", recorded=recorded, rebuilt=moved)
    yield rotation_pair(f"{side} rotation (matrix)", rotation, turned)


def _compare_pose(
    xyz: Float64, rotation: Float64, clip: Clip, action_at: int, state_at: int, side: str
) -> Iterator[CommandPair]:
    """Compare target poses with those that the stored motion leads to."""
    reached = hand_xyz(clip, state_at) + moves(clip, action_at)
    yield CommandPair(name=f"{side} position (m)", recorded=xyz, rebuilt=reached)
    turned = turns(clip, action_at) @ hand_rotation(clip, state_at)
    yield rotation_pair(f"{side} rotation (matrix)", rotation, turned)
