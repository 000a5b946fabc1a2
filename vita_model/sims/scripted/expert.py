"""Scripted experts for Lift and Stack: they compute commands from the simulator's poses, never from images.

An expert has no memory: the same state gives the same command. A policy without history can therefore imitate it, and
the expert recovers from any disturbance.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.types import Float64

OPEN, CLOSE = -1.0, 1.0
"""robosuite's gripper commands (panda_gripper.py)."""
_GAIN = 1.2
"""Gain of the position error; a command of 1 moves the controller by 0.05 m (osc_pose.json)."""
_STEP_M = 0.05
_HOVER_M = 0.08
"""Height above a cube at which the hand moves sideways."""
_ALIGNED_M = 0.012
"""Sideways error below which the hand may descend; the fingers open 0.08 m around a cube of 0.04 m."""
_REACHED_M = 0.012
_HELD_WIDTH_M = 0.068
"""Fingers that hold a cube are closer than this, even if they hold it by its edges."""
_FREE_WIDTH_M = 0.07
"""Fingers farther apart than this have released the cube."""
_RESTING_M = 0.046
"""Height of the upper cube's centre above the lower one's: 0.02 + 0.025 m, plus slack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Poses from the simulator, in metres in the world frame."""

    hand_xyz_m: Float64
    """Position of the grip site."""
    finger_width_m: float
    finger_speed_m_s: float
    cube_xyz_m: Float64
    """Cube to pick up."""
    cube_held: bool
    """Whether both fingers touch it, by the simulator's contacts."""
    target_xyz_m: Float64 | None = None
    """Cube to stack on; None in Lift."""
    table_z_m: float = 0.8


def lift_command(scene: Scene) -> Float64:
    """Give the next command [7] that lifts the cube: approach from above, descend, close, rise."""
    if _holds(scene):
        return _toward(scene, np.array([*scene.cube_xyz_m[:2], scene.table_z_m + 0.16]), CLOSE)
    return _fetch(scene)


def stack_command(scene: Scene) -> Float64:
    """Give the next command [7] that puts the cube onto the other one.

    Raises:
        ValueError: the scene has no cube to stack on.
    """
    if scene.target_xyz_m is None:
        raise ValueError("expected a scene with a target cube for Stack, got none")
    aside = scene.cube_xyz_m - scene.target_xyz_m
    off = float(np.linalg.norm(aside[:2]))
    up = scene.hand_xyz_m + np.array([0.0, 0.0, _STEP_M])
    if off < 0.02 and 0.03 < aside[2] < _RESTING_M + 0.003:  # on top: release it, then move up
        return _toward(scene, up if scene.finger_width_m > _FREE_WIDTH_M else scene.hand_xyz_m, OPEN)
    if not _holds(scene):
        return _fetch(scene)
    above = np.array([*scene.target_xyz_m[:2], scene.target_xyz_m[2] + 0.09])
    grip = scene.hand_xyz_m - scene.cube_xyz_m
    if off > 0.008 and aside[2] < 0.075:  # too low to move sideways: the cubes would collide
        return _toward(scene, up, CLOSE)
    if off > 0.008:
        return _toward(scene, above + grip, CLOSE)
    return _toward(scene, above + grip - np.array([0.0, 0.0, 0.06]), CLOSE)


def _holds(scene: Scene) -> bool:
    return scene.cube_held and scene.finger_width_m < _HELD_WIDTH_M and abs(scene.finger_speed_m_s) < 0.02


def _fetch(scene: Scene) -> Float64:
    """Approach the cube and close the fingers around it."""
    error = scene.cube_xyz_m - scene.hand_xyz_m
    sideways = float(np.linalg.norm(error[:2]))
    low = error[2] > -_HOVER_M / 2
    if sideways < _REACHED_M and abs(error[2]) < _REACHED_M:
        return _toward(scene, scene.cube_xyz_m, CLOSE)
    if sideways < _ALIGNED_M:
        return _toward(scene, scene.cube_xyz_m, OPEN)
    if low and sideways > 2 * _ALIGNED_M:  # beside the cube: move above it first
        return _toward(scene, scene.hand_xyz_m + np.array([0.0, 0.0, _STEP_M]), OPEN)
    return _toward(scene, scene.cube_xyz_m + np.array([0.0, 0.0, _HOVER_M / 2]), OPEN)


def _toward(scene: Scene, goal_xyz_m: Float64, gripper: float) -> Float64:
    error = np.clip(_GAIN * (goal_xyz_m - scene.hand_xyz_m) / _STEP_M, -1.0, 1.0)
    return np.array([*error, 0.0, 0.0, 0.0, gripper])
