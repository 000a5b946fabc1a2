"""The drawn arm reaches its hand."""

from itertools import pairwise

import numpy as np
import pytest

from vita_data.scene.painter import Link
from vita_data.scene.table import BASE_M, FRONT, TABLE_Z_M, Hand, arm, arm_joints_rad, gripper, human_hand, picture


@pytest.mark.parametrize("xyz_m", [(0.0, 0.0, 0.9), (0.1, 0.15, 0.85), (-0.1, -0.2, 1.0)])
def test_the_links_lead_from_the_base_to_the_gripper(xyz_m: tuple[float, float, float]) -> None:
    hand = Hand(xyz_m=np.array(xyz_m), finger_width_m=0.08)
    links = [body for body in arm(hand) if isinstance(body, Link)][:3]
    assert np.array_equal(links[0].ends_m[0], BASE_M)
    for before, after in pairwise(links):
        np.testing.assert_allclose(before.ends_m[1], after.ends_m[0])
    np.testing.assert_allclose(links[-1].ends_m[1][:2], hand.xyz_m[:2])
    assert [np.linalg.norm(np.diff(link.ends_m, axis=0)) for link in links[1:]] == pytest.approx([0.34, 0.34])
    assert arm_joints_rad(hand).shape == (7,)


def test_fingers_stand_as_far_apart_as_said() -> None:
    for width_m in (0.0, 0.04, 0.08):
        right, left = gripper(Hand(xyz_m=np.array([0.0, 0.0, 0.9]), finger_width_m=width_m))[:2]
        assert left.centre_m[1] - right.centre_m[1] == pytest.approx(width_m + 0.012)


def test_a_human_hand_ends_where_its_fingers_are() -> None:
    hand = Hand(xyz_m=np.array([0.0, 0.1, 0.9]), finger_width_m=0.05, base_m=np.array([0.3, 0.4, 0.9]))
    thumb, finger = human_hand(hand)[:2]
    assert isinstance(thumb, Link)
    assert isinstance(finger, Link)
    np.testing.assert_allclose((thumb.ends_m[1] + finger.ends_m[1]) / 2, hand.xyz_m)


def test_a_picture_is_repeatable_and_shows_a_table_before_a_wall() -> None:
    first, second = (picture(FRONT, [], 64) for _ in range(2))
    assert np.array_equal(first, second)
    wall, wood = first[4, 32].astype(int), first[48, 32].astype(int)
    assert wall[2] > wall[0]
    assert wood[0] > wood[2] + 40
    assert BASE_M[2] == TABLE_Z_M
