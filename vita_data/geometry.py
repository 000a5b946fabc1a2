"""Rotations and frame changes on `scipy.spatial.transform`; pure numpy in and out, no dataset knowledge.

Rotations are matrices [..., 3, 3] everywhere inside the package, so that no Euler angle is ever subtracted.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

Float = NDArray[np.float64]


def matrix_from_euler_xyz(euler_rad: NDArray[np.floating]) -> Float:
    """Turn extrinsic xyz Euler angles [T, 3] rad (roll, pitch, yaw) into matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_euler("xyz", np.asarray(euler_rad, np.float64)).as_matrix())


def euler_xyz_from_matrix(rotation: Float) -> Float:
    """Turn matrices [T, 3, 3] into extrinsic xyz Euler angles [T, 3] rad in (-pi, pi].

    Assumes: rotations as this module makes them, or products of these, which need not be made orthogonal again.
    """
    return np.asarray(_rotations().from_matrix(rotation, assume_valid=True).as_euler("xyz"))


def matrix_from_quat_xyzw(quat: NDArray[np.floating]) -> Float:
    """Turn quaternions [T, 4] in x, y, z, w order into matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_quat(np.asarray(quat, np.float64)).as_matrix())


def matrix_from_axis_angle(rotvec_rad: NDArray[np.floating]) -> Float:
    """Turn rotation vectors [T, 3] rad (any norm) into matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_rotvec(np.asarray(rotvec_rad, np.float64)).as_matrix())


def axis_angle_from_matrix(rotation: Float) -> Float:
    """Turn matrices [T, 3, 3] into rotation vectors [T, 3] rad; assumes what `euler_xyz_from_matrix` does."""
    return np.asarray(_rotations().from_matrix(rotation, assume_valid=True).as_rotvec())


def rot6d_from_matrix(rotation: Float) -> Float:
    """Take the first two columns of matrices [T, 3, 3], column-major, as [T, 6] (vita_data/README.md)."""
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], axis=-1)


def matrix_from_rot6d(rot6d: NDArray[np.floating]) -> Float:
    """Rebuild matrices [T, 3, 3] from [T, 6] by Gram-Schmidt."""
    a, b = np.asarray(rot6d[..., :3], np.float64), np.asarray(rot6d[..., 3:], np.float64)
    x = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b - np.sum(x * b, axis=-1, keepdims=True) * x
    y = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def rotation_delta(current: Float, target: Float) -> Float:
    """Compose R_target * R_current^-1 for matrices [T, 3, 3]: the base-frame rotation from current to target."""
    return np.asarray(target @ np.swapaxes(current, -1, -2))


def wrap_angle(angle_rad: NDArray[np.floating]) -> Float:
    """Wrap angles of any shape into [-pi, pi)."""
    return (np.asarray(angle_rad, np.float64) + np.pi) % (2 * np.pi) - np.pi


def integrate_deltas(xyz_m: Float, rotation: Float, deltas: NDArray[np.floating]) -> tuple[Float, Float]:
    """Apply canonical deltas to a start pose.

    Args:
        xyz_m: [3] start position in metres.
        rotation: [3, 3] start orientation.
        deltas: [T, >=6] dx dy dz in metres, droll dpitch dyaw in rad, per native step.

    Returns:
        Positions [T+1, 3] and orientations [T+1, 3, 3], the start first.
    """
    positions, rotations = [np.asarray(xyz_m, np.float64)], [np.asarray(rotation, np.float64)]
    for delta, turn in zip(deltas, matrix_from_euler_xyz(deltas[:, 3:6]), strict=True):
        positions.append(positions[-1] + delta[:3])
        rotations.append(turn @ rotations[-1])
    return np.stack(positions), np.stack(rotations)


def _rotations() -> "type[Rotation]":
    # Imported when a pose comes: it takes a third of a worker's start, and a source of video has none.
    from scipy.spatial.transform import Rotation

    return Rotation
