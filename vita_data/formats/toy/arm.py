"""Physically consistent trajectories of toy arms."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from vita_data.geometry import matrix_from_euler_xyz
from vita_data.types import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyArm:
    """A consistent arm trajectory: poses [T], gripper opening, joints; the hand points down (roll near pi)."""

    xyz_m: Float64
    rotation: Float64
    gripper_open: Float64
    joint_position_rad: Float64
    joint_velocity_rad_s: Float64

    def at(self, rows: Int64) -> Self:
        """Select rows [N]."""
        return type(self)(
            xyz_m=self.xyz_m[rows],
            rotation=self.rotation[rows],
            gripper_open=self.gripper_open[rows],
            joint_position_rad=self.joint_position_rad[rows],
            joint_velocity_rad_s=self.joint_velocity_rad_s[rows],
        )


def toy_arm(num_steps: int, *, hz: float, seed: int, num_joints: int = 7) -> ToyArm:
    """Make a smooth reach-grasp-lift motion of `num_steps` rows with the hand pointing down."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_steps) / hz
    phase, rate = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.5, 1.2, 6)
    wave = np.sin(rate * time[:, None] + phase)
    xyz = np.array([0.4, 0.0, 0.25]) + wave[:, :3] * np.array([0.08, 0.08, 0.06])
    euler = np.array([np.pi, 0.0, 0.3]) + wave[:, 3:] * np.array([0.15, 0.15, 0.4])
    middle = num_steps // 2
    gripper = np.where(np.arange(num_steps) < middle, 1.0, 0.0)
    offset = rng.uniform(-1, 1, num_joints)
    joints = offset + 0.3 * np.sin(time[:, None] * 0.8 + offset)
    velocity = 0.3 * 0.8 * np.cos(time[:, None] * 0.8 + offset)
    return ToyArm(
        xyz_m=xyz,
        rotation=matrix_from_euler_xyz(euler),
        gripper_open=gripper,
        joint_position_rad=joints,
        joint_velocity_rad_s=velocity,
    )
