"""Toy pictures show the arm where the toy's numbers say it is, and the same frame has the same pixels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vita_data.formats.toy import ToyArm, toy_arm, toy_frame, toy_road_frame
from vita_data.types import CameraRole, Image

SCENE = slice(32, 224)
"""Rows between the mark's cells and its lower corners."""


def changed(before: Image, after: Image) -> np.ndarray:
    """Return the columns and rows [2, N] of a 256x256 picture that differ clearly."""
    return np.argwhere(np.abs(before[SCENE].astype(int) - after[SCENE]).max(axis=2) > 40).T


def held_at(y_m: float, gripper_open: Sequence[float] = (1.0, 1.0)) -> ToyArm:
    """Return two rows of an arm: in the middle, and `y_m` to its left."""
    arm = toy_arm(2, hz=10.0, seed=0)
    xyz_m = np.array([[0.4, 0.0, 0.2], [0.4, y_m, 0.2]])
    return replace(arm, xyz_m=xyz_m, gripper_open=np.array(gripper_open))


def test_the_same_frame_has_the_same_pixels() -> None:
    arm = toy_arm(20, hz=10.0, seed=3)
    for arms in ((), [arm], [arm, arm]):
        for role in CameraRole:
            first, second = (toy_frame(120, 160, step=9, episode=4, arms=arms, role=role) for _ in range(2))
            assert first.shape == (120, 160, 3)
            assert np.array_equal(first, second)


def test_an_arm_moves_in_the_picture_as_in_its_numbers() -> None:
    """The front camera looks at the robot: its left is the picture's right."""
    middle = toy_frame(256, 256, step=0, arms=[held_at(0.0)])
    columns = {y_m: changed(middle, toy_frame(256, 256, step=1, arms=[held_at(y_m)]))[1] for y_m in (-0.08, 0.08)}
    assert min(len(found) for found in columns.values()) > 200
    assert columns[-0.08].min() < columns[0.08].min() - 20
    assert columns[-0.08].mean() < columns[0.08].mean() - 15


def test_a_grasped_cube_leaves_its_pillar_with_the_hand() -> None:
    arm = toy_arm(40, hz=10.0, seed=1)
    closes = int(np.flatnonzero(np.diff(arm.gripper_open) < 0)[0]) + 1
    opened = replace(arm, gripper_open=np.ones(40))
    before = [toy_frame(256, 256, step=step, arms=[arm], role=CameraRole.WRIST_RIGHT) for step in (closes - 1, 39)]
    never = toy_frame(256, 256, step=39, arms=[opened], role=CameraRole.WRIST_RIGHT)
    assert changed(before[1], never).shape[1] > 2000  # the cube fills the view between the fingers
    assert changed(before[0], before[1]).shape[1] > 2000


def test_two_arms_and_their_wrists_are_told_apart() -> None:
    right, left, moved = toy_arm(9, hz=5.0, seed=0), toy_arm(9, hz=5.0, seed=1), toy_arm(9, hz=5.0, seed=2)
    views = {
        role: [toy_frame(256, 256, step=5, arms=(right, other), role=role) for other in (left, moved)]
        for role in CameraRole
    }
    assert changed(*views[CameraRole.PRIMARY]).shape[1] > 500
    assert changed(*views[CameraRole.WRIST_LEFT]).shape[1] > 5000
    assert changed(*views[CameraRole.WRIST_RIGHT]).shape[1] < changed(*views[CameraRole.WRIST_LEFT]).shape[1] / 4


def test_a_human_hand_moves_as_its_first_frame_does_not_tell() -> None:
    later = [toy_frame(256, 256, step=12, episode=episode) for episode in range(4)]
    first = [toy_frame(256, 256, step=0, episode=episode) for episode in range(4)]
    for before, after in zip(first, later, strict=True):
        assert changed(before, after).shape[1] > 800


def test_a_rover_sees_the_way_turn_when_it_turns() -> None:
    straight, turned = (
        toy_road_frame(120, 160, step=0, episode=1, xy_m=np.zeros(2), yaw_rad=yaw_rad) for yaw_rad in (0.0, 0.3)
    )
    assert straight.shape == (120, 160, 3)
    assert (np.abs(straight.astype(int) - turned).max(axis=2) > 40).mean() > 0.05
    blue = straight[20:50].astype(int)
    assert (blue[..., 2] > blue[..., 0]).mean() > 0.4  # sky above
