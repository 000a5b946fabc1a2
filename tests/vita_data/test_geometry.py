"""Rotations agree with each other, and deltas compose instead of subtract."""

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vita_data import geometry

angles = st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3)


@given(angles)
def test_euler_and_matrix_round_trip(euler: list[float]) -> None:
    matrix = geometry.matrix_from_euler_xyz(np.array([euler]))

    again = geometry.matrix_from_euler_xyz(geometry.euler_xyz_from_matrix(matrix))
    np.testing.assert_allclose(again, matrix, atol=1e-9)


@given(angles, angles)
def test_turns_of_our_own_rotations_are_not_altered_by_leaving_out_their_checks(
    current: list[float], target: list[float]
) -> None:
    a, b = (geometry.matrix_from_euler_xyz(np.array([euler])) for euler in (current, target))
    turn = geometry.rotation_delta(a, b)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gimbal lock
        checked = Rotation.from_matrix(turn).as_euler("xyz")
        np.testing.assert_array_equal(geometry.euler_xyz_from_matrix(turn), checked)


@given(angles, angles)
def test_delta_takes_current_to_target_from_the_left(current: list[float], target: list[float]) -> None:
    a, b = (geometry.matrix_from_euler_xyz(np.array([euler])) for euler in (current, target))

    np.testing.assert_allclose(geometry.rotation_delta(a, b) @ a, b, atol=1e-12)


def test_a_wrap_of_roll_is_a_small_delta() -> None:
    """A hand pointing down crosses roll = pi: subtracting angles would give 6.2 rad."""
    a, b = (geometry.matrix_from_euler_xyz(np.array([[roll, 0.0, 0.0]])) for roll in (np.pi - 0.02, -np.pi + 0.03))

    delta = geometry.euler_xyz_from_matrix(geometry.rotation_delta(a, b))
    np.testing.assert_allclose(delta, [[0.05, 0, 0]], atol=1e-12)


def test_extrinsic_xyz_is_roll_then_pitch_then_yaw_about_fixed_axes() -> None:
    roll, pitch, yaw = 0.3, -0.4, 1.1
    expected = (
        Rotation.from_rotvec([0, 0, yaw]) * Rotation.from_rotvec([0, pitch, 0]) * Rotation.from_rotvec([roll, 0, 0])
    ).as_matrix()

    np.testing.assert_allclose(geometry.matrix_from_euler_xyz(np.array([[roll, pitch, yaw]]))[0], expected, atol=1e-12)


@given(angles)
def test_rot6d_is_the_first_two_columns_and_inverts(euler: list[float]) -> None:
    matrix = geometry.matrix_from_euler_xyz(np.array([euler]))
    rot6d = geometry.rot6d_from_matrix(matrix)

    np.testing.assert_allclose(rot6d[0, :3], matrix[0, :, 0])
    np.testing.assert_allclose(geometry.matrix_from_rot6d(rot6d), matrix, atol=1e-9)


def test_quaternions_are_xyzw_and_axis_angles_may_exceed_pi() -> None:
    half = np.sqrt(0.5)
    quarter_turn_z = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]

    from_quat = geometry.matrix_from_quat_xyzw(np.array([[0, 0, half, half]]))[0]
    np.testing.assert_allclose(from_quat, quarter_turn_z, atol=1e-12)
    np.testing.assert_allclose(
        geometry.matrix_from_axis_angle(np.array([[0, 0, np.pi / 2 + 2 * np.pi]]))[0], quarter_turn_z, atol=1e-12
    )


def test_integrating_deltas_walks_the_path() -> None:
    rng = np.random.default_rng(0)
    turns = geometry.matrix_from_euler_xyz(rng.uniform(-0.3, 0.3, (9, 3)))
    deltas = np.concatenate([rng.uniform(-0.1, 0.1, (9, 3)), geometry.euler_xyz_from_matrix(turns)], axis=1)
    start = geometry.matrix_from_euler_xyz(np.array([[np.pi, 0.0, 0.0]]))[0]

    xyz, rotation = geometry.integrate_deltas(np.zeros(3), start, deltas)
    np.testing.assert_allclose(xyz[-1], deltas[:, :3].sum(axis=0))
    np.testing.assert_allclose(rotation[2], turns[1] @ turns[0] @ start, atol=1e-12)


def test_wrap_angle_is_in_half_open_pi_range() -> None:
    np.testing.assert_allclose(geometry.wrap_angle(np.array([3 * np.pi / 2, -3 * np.pi / 2])), [-np.pi / 2, np.pi / 2])
