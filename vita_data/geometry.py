"""Rotations and frame changes based on `scipy.spatial.transform`; numpy in and out, independent of any dataset.

Rotations are matrices [..., 3, 3] everywhere in the package, so that Euler angles are never subtracted.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

Float = NDArray[np.float64]
_LEAST_NORM, _GREATEST_NORM = 0.5, 2.0
"""Of a stored quaternion or column of a rotation, which recorders round; others are something else."""
_MAX_SLANT = 0.5
"""Greatest cosine between the two columns of a stored rotation."""


def matrix_from_euler_xyz(euler_rad: NDArray[np.floating]) -> Float:
    """Convert extrinsic xyz Euler angles [T, 3] rad (roll, pitch, yaw) to matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_euler("xyz", np.asarray(euler_rad, np.float64)).as_matrix())


def euler_xyz_from_matrix(rotation: Float) -> Float:
    """Convert matrices [T, 3, 3] to extrinsic xyz Euler angles [T, 3] rad in (-pi, pi].

    Assumes: rotations made by this module, or products of them, which are orthogonal enough.
    """
    return np.asarray(_rotations().from_matrix(rotation, assume_valid=True).as_euler("xyz"))


def matrix_from_quat_xyzw(quat: NDArray[np.floating]) -> Float:
    """Convert quaternions [T, 4] in x, y, z, w order to matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_quat(np.asarray(quat, np.float64)).as_matrix())


def quat_xyzw_from_matrix(rotation: Float) -> Float:
    """Convert matrices [T, 3, 3] to quaternions [T, 4], x y z w; same assumption as `euler_xyz_from_matrix`."""
    return np.asarray(_rotations().from_matrix(rotation, assume_valid=True).as_quat())


def matrix_from_axis_angle(rotvec_rad: NDArray[np.floating]) -> Float:
    """Convert rotation vectors [T, 3] rad (any norm) to matrices [T, 3, 3]."""
    return np.asarray(_rotations().from_rotvec(np.asarray(rotvec_rad, np.float64)).as_matrix())


def axis_angle_from_matrix(rotation: Float) -> Float:
    """Convert matrices [T, 3, 3] to rotation vectors [T, 3] rad; same assumption as `euler_xyz_from_matrix`."""
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


def quat_fault(quat: NDArray[np.floating]) -> str:
    """Describe the first of quaternions [T, 4] that is no rotation; empty if all are, be it roughly."""
    return _norm_fault(quat, "a quaternion")


def rot6d_fault(rot6d: NDArray[np.floating]) -> str:
    """Describe the first of rows [T, 6] that is not two orthogonal columns; empty if all are, be it roughly."""
    a, b = np.asarray(rot6d[..., :3], np.float64), np.asarray(rot6d[..., 3:], np.float64)
    if fault := _norm_fault(a, "a column") or _norm_fault(b, "a column"):
        return fault
    is_odd = np.abs(np.sum(a * b, axis=-1)) > _MAX_SLANT * np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return f"two columns that are not orthogonal in row {int(np.argmax(is_odd))}" if is_odd.any() else ""


def _norm_fault(vectors: NDArray[np.floating], what: str) -> str:
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1)
    is_odd = (norm < _LEAST_NORM) | (norm > _GREATEST_NORM)
    if not is_odd.any():
        return ""
    row = int(np.argmax(is_odd))
    return f"{what} of norm {norm[row]:.3g} in row {row}, expected 1"


def rotation_delta(current: Float, target: Float) -> Float:
    """Compose R_target * R_current^-1 for matrices [T, 3, 3]: the base-frame rotation from current to target."""
    return np.asarray(target @ np.swapaxes(current, -1, -2))


def angle_deg(a: Float, b: Float) -> Float:
    """Return angles [T] in degrees between matrices [T, 3, 3]; exact for small angles, unlike arccos of a trace."""
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8.0)
    return np.asarray(np.degrees(2 * np.arcsin(np.clip(chord, 0.0, 1.0))))


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
    # Imported on first use: the import takes a third of a worker's start, and video sources do not need it.
    from scipy.spatial.transform import Rotation

    return Rotation
