"""Generated array data: HDF5 demonstrations like LIBERO's, and one compressed npz per frame like CALVIN's."""

from pathlib import Path

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.bench.build.videos import moving_scene
from vita_data.formats.toy import toy_arm
from vita_data.geometry import euler_xyz_from_matrix
from vita_data.sources.calvin.annotations import LABELS, SPANS
from vita_data.types import Image

LIBERO_CAMERAS = ("agentview_rgb", "eye_in_hand_rgb")
_LIBERO_SIZE, _LIBERO_HZ = 128, 20.0
_DEMO_STEPS = 130
"""The mean length of LIBERO's demonstrations is between 100 and 300."""
_WINDOW = 64
"""Frames per labelled window."""
_STATIC_SIZE, _GRIPPER_SIZE, _CALVIN_HZ = 200, 84, 30.0


def write_demo_tree(raw: Path, *, num_demos: int) -> int:
    """Write a tree for source `libero`: one task, gzipped images in chunks of one; returns the number of images."""
    path = raw / "libero_spatial" / "pick_up_the_black_bowl_and_place_it_on_the_plate_demo.hdf5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = '{"language_instruction": "pick up the black bowl"}'
        for number in range(num_demos):
            _write_demo(data.create_group(f"demo_{number}"), number)
    return num_demos * _DEMO_STEPS * len(LIBERO_CAMERAS)


def _write_demo(demo: h5py.Group, number: int) -> None:
    arm = toy_arm(_DEMO_STEPS, hz=_LIBERO_HZ, seed=number)
    fingers = np.outer(arm.gripper_open, [0.04, -0.04])
    # No command is close to zero, because such a row would be a no-op.
    actions = np.column_stack([np.full((_DEMO_STEPS, 6), 0.2), 1 - 2 * arm.gripper_open])
    values = {
        "actions": actions,
        "obs/ee_pos": arm.xyz_m,
        "obs/ee_ori": Rotation.from_matrix(arm.rotation).as_rotvec(),
        "obs/gripper_states": fingers,
        "obs/joint_states": arm.joint_position_rad,
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value)
    for camera, key in enumerate(LIBERO_CAMERAS):
        images = _scene(_LIBERO_SIZE, _DEMO_STEPS, seed=2 * number + camera)
        chunk = (1, *images.shape[1:])
        demo.create_dataset(f"obs/{key}", data=images, compression="gzip", compression_opts=1, chunks=chunk)


def write_npz_tree(raw: Path, *, num_frames: int) -> int:
    """Write a tree for source `calvin`: one recording with non-overlapping windows; returns the number of frames."""
    folder = raw / "task_ABC_D" / "training"
    (folder / "lang_annotations").mkdir(parents=True)
    num_frames -= num_frames % min(_WINDOW, num_frames)
    ends = [(first, min(first + _WINDOW, num_frames) - 1) for first in range(0, num_frames, _WINDOW)]
    labels = {
        "language": {"ann": ["lift the red block"] * len(ends), "task": ["lift_red_block_table"] * len(ends)},
        "info": {"episodes": [], "indx": ends},
    }
    np.save(folder / LABELS, np.array(labels, object), allow_pickle=True)
    np.save(folder / SPANS, np.array([(0, num_frames - 1)], np.int64))
    _write_frames(folder, num_frames)
    return num_frames


def _write_frames(folder: Path, num_frames: int) -> None:
    arm, rng = toy_arm(num_frames + 1, hz=_CALVIN_HZ, seed=4), np.random.default_rng(4)
    pose = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])
    command = 2 * arm.gripper_open - 1
    observed = np.column_stack([pose, 0.08 * arm.gripper_open, arm.joint_position_rad, command])
    reached = np.column_stack([pose[1:], command[1:]])
    static, gripper = (moving_scene(size, size, num_frames, seed=size) for size in (_STATIC_SIZE, _GRIPPER_SIZE))
    for step, (wide, close) in enumerate(zip(static, gripper, strict=True)):
        np.savez_compressed(
            folder / f"episode_{step:07d}.npz",
            actions=reached[step],
            rel_actions=reached[step],
            robot_obs=observed[step],
            scene_obs=np.zeros(24),
            rgb_static=wide,
            rgb_gripper=close,
            rgb_tactile=np.zeros((160, 120, 6), np.uint8),
            depth_static=rng.normal(4.0, 0.2, (_STATIC_SIZE, _STATIC_SIZE)).astype(np.float32),
            depth_gripper=rng.normal(0.5, 0.05, (_GRIPPER_SIZE, _GRIPPER_SIZE)).astype(np.float32),
            depth_tactile=np.zeros((160, 120, 2), np.float32),
        )


def _scene(size: int, num_frames: int, *, seed: int) -> Image:
    return np.stack(list(moving_scene(size, size, num_frames, seed=seed)))
