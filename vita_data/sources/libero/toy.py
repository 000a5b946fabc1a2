"""Toy trees of LIBERO's releases; the source passes the scale of a command.

The toy arm reaches its commands (the simulator's does not), and images of the official files are gzipped (the real ones
are not).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.formats.toy import ToyArm, toy_arm, toy_frames
from vita_data.geometry import rotation_delta
from vita_data.sources.libero.rlds import ToyLiberoEpisode, write_libero_rlds
from vita_data.types import CameraRole, Float64, Int64

_CAMERAS = {CameraRole.PRIMARY: "agentview_rgb", CameraRole.WRIST_RIGHT: "eye_in_hand_rgb"}
_TOY = {  # task file -> text in problem_info
    "libero_spatial/pick_up_the_black_bowl_and_place_it_on_the_plate": "Pick the akita bowl and put it on the plate",
    "libero_90/KITCHEN_SCENE1_open_the_top_drawer_of_the_cabinet": "open the top drawer of the cabinet",
}
_TOY_DEMOS = (0, 1, 2, 6)
_TOY_REPLAYED = (1, 6)
_TOY_HOLD_AT, _TOY_HOLD_STEPS = 12, 4
"""At which action and for how many actions the toy arm waits (no-ops)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyLiberoRobot:
    """Rate, displacement and rotation of a command of 1, and the distance between open fingers."""

    hz: float
    position_scale_m: float
    rotation_scale_rad: float
    fingers_open_m: float


def write_toy_official(root: str, robot: ToyLiberoRobot) -> None:
    """Write two suites with one task and four demonstrations each, about 50 steps, images as rendered."""
    for index, (task, text) in enumerate(_TOY.items()):
        path = Path(root) / f"{task}_demo.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w", locking=False) as file:
            data = file.create_group("data")
            total = sum(_write_toy_demo(data, number, robot, seed=10 * index + number) for number in _TOY_DEMOS)
            data.attrs.update(
                {
                    "env_name": "Libero_Tabletop_Manipulation",
                    "macros_image_convention": "opengl",
                    "problem_info": json.dumps(
                        {"problem_name": "toy", "domain_name": "robosuite", "language_instruction": text}
                    ),
                    "bddl_file_name": f"{task}.bddl",
                    "env_args": "{}",
                    "num_demos": len(_TOY_DEMOS),
                    "total": total,
                }
            )


def write_toy_replayed(root: str, robot: ToyLiberoRobot) -> None:
    """Write two suites of the release replayed with two demonstrations each, whose images are 256x256.

    As in the replay, every row is from before its action, states are the simulator's flattened ones, row 0 of
    `robot_states` is from the official file, failed demonstrations leave gaps in the numbers, and there are no
    attributes.
    """
    for index, task in enumerate(_TOY):
        path = Path(root) / f"{task}_demo.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w", locking=False) as file:
            for number in _TOY_REPLAYED:
                _write_toy_replay(file.create_group(f"data/demo_{number}"), number, robot, seed=10 * index + number)


def write_toy_no_noops(root: str, robot: ToyLiberoRobot) -> None:
    """Write two suites of the release no_noops: one with 2 files of 2 and 1 episodes, one with a single episode."""
    episodes = [_toy_replay(number, robot) for number in range(4)]
    write_libero_rlds(root, suite="libero_spatial", files=[episodes[:2], episodes[2:3]])
    write_libero_rlds(root, suite="libero_10", files=[episodes[3:]])


def _write_toy_demo(data: h5py.Group, number: int, robot: ToyLiberoRobot, *, seed: int) -> int:
    """Write a demo whose observation t is from after action t; the first action leads to the first observation."""
    steps = np.arange(46 + number)
    steps = np.insert(steps, _TOY_HOLD_AT, [_TOY_HOLD_AT] * _TOY_HOLD_STEPS)
    arm, actions = _toy_motion(steps, robot, seed)
    demo, after = data.create_group(f"demo_{number}"), arm.at(np.arange(1, len(steps)))
    turn = Rotation.from_matrix(after.rotation)
    hand, axis_angle, quaternion = after.xyz_m, turn.as_rotvec(), turn.as_quat()
    fingers = np.outer(after.gripper_open, [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    values = {
        "actions": actions,
        "robot_states": np.column_stack([fingers, hand, quaternion]),
        "obs/ee_pos": hand,
        "obs/ee_ori": axis_angle,
        "obs/ee_states": np.column_stack([hand, axis_angle]),
        "obs/gripper_states": fingers,
        "obs/joint_states": after.joint_position_rad,
        "states": np.column_stack([arm.xyz_m[:-1], arm.gripper_open[:-1]]),
        "rewards": np.zeros(len(actions), np.uint8),
        "dones": np.arange(len(actions)) == len(actions) - 1,
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value.astype(np.uint8) if key == "dones" else value)
    _write_toy_images(demo, after, size=128, seed=seed)
    demo.attrs.update({"num_samples": len(actions), "model_file": "<mujoco/>", "init_state": np.zeros(4)})
    return len(actions)


def _write_toy_replay(demo: h5py.Group, number: int, robot: ToyLiberoRobot, *, seed: int) -> None:
    """Write a demo whose observation t is from before action t."""
    arm, actions = _toy_motion(np.arange(41 + number), robot, seed)
    num_steps = len(actions)
    before = arm.at(np.arange(num_steps))
    turn, joints = Rotation.from_matrix(before.rotation), before.joint_position_rad
    hand, axis_angle = before.xyz_m, turn.as_rotvec()
    fingers = np.outer(before.gripper_open, [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    robot_states = np.column_stack([fingers, hand, turn.as_quat()])
    robot_states[0] += 1e-3
    values = {
        "actions": actions,
        "robot_states": robot_states,
        "obs/ee_pos": hand,
        "obs/ee_ori": axis_angle,
        "obs/ee_states": np.column_stack([hand, axis_angle]),
        "obs/gripper_states": fingers,
        "obs/joint_states": joints,
        "states": np.column_stack([np.arange(num_steps) / robot.hz, joints, fingers, np.zeros((num_steps, 7))]),
        "rewards": (np.arange(num_steps) == num_steps - 1).astype(np.uint8),
        "dones": (np.arange(num_steps) == num_steps - 1).astype(np.uint8),
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value)
    _write_toy_images(demo, before, size=256, seed=seed)


def _write_toy_images(demo: h5py.Group, arm: ToyArm, *, size: int, seed: int) -> None:
    """Write frames rotated by 180 degrees, so that the default orientation shows them upright."""
    for camera, (role, key) in enumerate(_CAMERAS.items()):
        frames = toy_frames(size, size, range(len(arm.xyz_m)), camera=camera, episode=seed, arms=[arm], role=role)
        demo.create_dataset(
            f"obs/{key}",
            data=np.stack(list(frames))[:, ::-1, ::-1],
            compression="gzip",
            compression_opts=1,
            chunks=(1, size, size, 3),
        )


def _toy_motion(steps: Int64, robot: ToyLiberoRobot, seed: int) -> tuple[ToyArm, Float64]:
    """Make an arm with T + 1 rows at `steps`, and the commands [T] between them."""
    arm = toy_arm(len(steps), hz=robot.hz, seed=seed).at(steps)
    turn = Rotation.from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:])).as_rotvec()
    moved = [np.diff(arm.xyz_m, axis=0) / robot.position_scale_m, turn / robot.rotation_scale_rad]
    return arm, np.column_stack([*moved, 1 - 2 * arm.gripper_open[1:]])


def _toy_replay(number: int, robot: ToyLiberoRobot) -> ToyLiberoEpisode:
    arm, actions = _toy_motion(np.arange(41 + number), robot, number)
    fingers = np.outer(arm.gripper_open, [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    return ToyLiberoEpisode(
        number=number,
        arm=arm,
        state=np.column_stack([arm.xyz_m, Rotation.from_matrix(arm.rotation).as_rotvec(), fingers])[:-1],
        joints_rad=arm.joint_position_rad[:-1],
        action=actions,
        task="KITCHEN_SCENE3_turn_on_the_stove",
        text="turn on the stove",
    )
