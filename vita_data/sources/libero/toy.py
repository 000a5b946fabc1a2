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

from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.geometry import rotation_delta
from vita_data.sources.libero.rlds import ToyLiberoEpisode, write_libero_rlds
from vita_data.types import Float64, Int64

_CAMERAS = ("agentview_rgb", "eye_in_hand_rgb")
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
    xyz, rotation, opening, joints, actions = _toy_motion(steps, robot, seed)
    demo, after = data.create_group(f"demo_{number}"), slice(1, None)
    hand, axis_angle = xyz[after], Rotation.from_matrix(rotation[after]).as_rotvec()
    fingers = np.outer(opening[after], [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    quaternion = Rotation.from_matrix(rotation[after]).as_quat()
    values = {
        "actions": actions,
        "robot_states": np.column_stack([fingers, hand, quaternion]),
        "obs/ee_pos": hand,
        "obs/ee_ori": axis_angle,
        "obs/ee_states": np.column_stack([hand, axis_angle]),
        "obs/gripper_states": fingers,
        "obs/joint_states": joints[after],
        "states": np.column_stack([xyz[:-1], opening[:-1]]),
        "rewards": np.zeros(len(actions), np.uint8),
        "dones": np.arange(len(actions)) == len(actions) - 1,
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value.astype(np.uint8) if key == "dones" else value)
    _write_toy_images(demo, len(actions), size=128, seed=seed)
    demo.attrs.update({"num_samples": len(actions), "model_file": "<mujoco/>", "init_state": np.zeros(4)})
    return len(actions)


def _write_toy_replay(demo: h5py.Group, number: int, robot: ToyLiberoRobot, *, seed: int) -> None:
    """Write a demo whose observation t is from before action t."""
    xyz, rotation, opening, joints, actions = _toy_motion(np.arange(41 + number), robot, seed)
    before, num_steps = slice(0, -1), len(actions)
    hand, axis_angle = xyz[before], Rotation.from_matrix(rotation[before]).as_rotvec()
    fingers = np.outer(opening[before], [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    robot_states = np.column_stack([fingers, hand, Rotation.from_matrix(rotation[before]).as_quat()])
    robot_states[0] += 1e-3
    values = {
        "actions": actions,
        "robot_states": robot_states,
        "obs/ee_pos": hand,
        "obs/ee_ori": axis_angle,
        "obs/ee_states": np.column_stack([hand, axis_angle]),
        "obs/gripper_states": fingers,
        "obs/joint_states": joints[before],
        "states": np.column_stack([np.arange(num_steps) / robot.hz, joints[before], fingers, np.zeros((num_steps, 7))]),
        "rewards": (np.arange(num_steps) == num_steps - 1).astype(np.uint8),
        "dones": (np.arange(num_steps) == num_steps - 1).astype(np.uint8),
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value)
    _write_toy_images(demo, num_steps, size=256, seed=seed)


def _write_toy_images(demo: h5py.Group, num_frames: int, *, size: int, seed: int) -> None:
    """Write frames rotated by 180 degrees, so that the default orientation shows them upright."""
    for camera, key in enumerate(_CAMERAS):
        frames = [toy_frame(size, size, step=step, camera=camera, episode=seed) for step in range(num_frames)]
        demo.create_dataset(
            f"obs/{key}",
            data=np.stack(frames)[:, ::-1, ::-1],
            compression="gzip",
            compression_opts=1,
            chunks=(1, size, size, 3),
        )


def _toy_motion(steps: Int64, robot: ToyLiberoRobot, seed: int) -> tuple[Float64, Float64, Float64, Float64, Float64]:
    """Make positions, rotations, openings and joints [T + 1] at `steps`, and the commands [T] between them."""
    arm = toy_arm(len(steps), hz=robot.hz, seed=seed)
    xyz, rotation, opening = arm.xyz_m[steps], arm.rotation[steps], arm.gripper_open[steps]
    turn = Rotation.from_matrix(rotation_delta(rotation[:-1], rotation[1:])).as_rotvec()
    moved = [np.diff(xyz, axis=0) / robot.position_scale_m, turn / robot.rotation_scale_rad]
    actions = np.column_stack([*moved, 1 - 2 * opening[1:]])
    return xyz, rotation, opening, arm.joint_position_rad[steps], actions


def _toy_replay(number: int, robot: ToyLiberoRobot) -> ToyLiberoEpisode:
    xyz, rotation, opening, joints, actions = _toy_motion(np.arange(41 + number), robot, number)
    fingers = np.outer(opening, [robot.fingers_open_m / 2, -robot.fingers_open_m / 2])
    return ToyLiberoEpisode(
        number=number,
        state=np.column_stack([xyz, Rotation.from_matrix(rotation).as_rotvec(), fingers])[:-1],
        joints_rad=joints[:-1],
        action=actions,
        task="KITCHEN_SCENE3_turn_on_the_stove",
        text="turn on the stove",
    )
