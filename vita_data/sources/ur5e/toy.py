"""Toy trees of the UR-5e set in both forms, with the quirks of real recordings."""

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import simplejpeg
from scipy.spatial.transform import Rotation

from vita_data.formats.lerobot.write import ToyLeRobotEpisode, write_lerobot
from vita_data.formats.toy import ToyArm, toy_arm, toy_frames
from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.sources.ur5e.recording import CAMERAS, HZ, LEROBOT_IMAGES, WIDTH_OPEN_M, ActionSpace
from vita_data.types import Float64, Image, Int64

_RECORDINGS = (  # task, scene, episode, text, action space, rows; fewer than 13 rows is too short
    (1, "scene_000", "000", "Please gently touch the portrait on the left.", ActionSpace.ABS_TCP, 36),
    (1, "scene_000", "001", "Point to the photo in the middle with your finger.", ActionSpace.DELTA_BASE, 32),
    (2, "scene_004", "000", "Put the red block on the red towel.", ActionSpace.ABS_TCP, 30),
    (2, "scene_004", "001", "Put the blue block on the blue towel.", ActionSpace.ABS_TCP, 15),
    (11, "scene_001", "000", "Stack all the cups, then put them on the plate.", ActionSpace.DELTA_BASE, 10),
)
_WITH_DEPTH, _RAW_IMAGES, _STALLED, _UNSUCCESSFUL = range(4)
_STALL_AT, _STALL_STEPS = 20, 3


def write_ur5e_toy(root: str) -> None:
    """Write five recordings of three tasks: one failed, one short, one that stalled, one with raw 256x256 images."""
    for number, (task, scene, episode, text, space, num_rows) in enumerate(_RECORDINGS):
        path = Path(root) / f"{task:02d}" / scene / f"{episode}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = np.arange(num_rows)
        if number == _STALLED:
            steps[_STALL_AT:] += _STALL_STEPS
        with h5py.File(path, "w", locking=False) as file:
            write_ur5e_toy_vectors(file, steps, space, seed=number)
            for camera, key in enumerate(CAMERAS.values()):
                _write_images(file, key, steps, camera, number)
                if number == _WITH_DEPTH:
                    metres = (0.5 + 0.01 * steps).astype(np.float32)[:, None, None]
                    metres = np.broadcast_to(metres, (num_rows, 256, 256))
                    file.create_dataset(f"depth/{key}", data=metres, **_chunks(256, 256))
            file.attrs.update(
                {
                    "instruction": text,
                    "task_id": task,
                    "task_type": "basic",
                    "success": number != _UNSUCCESSFUL,
                    "intrinsics": json.dumps({"third_person": [[600, 0, 320], [0, 600, 240], [0, 0, 1]]}),
                    "extrinsics": np.eye(4),
                    "action_space": space.value,
                }
            )


def write_ur5e_toy_vectors(file: h5py.File, steps: Int64, space: ActionSpace, *, seed: int) -> None:
    """Write everything except the images of a recording with the rows `steps` [T]."""
    state, action = _motion(steps, space, seed=seed)
    file["state/joint_position"], file["state/tcp_pose"] = state[:, :6], state[:, 6:12]
    file["state/gripper_width"], file["action"] = state[:, 12:], action.astype(np.float32)
    jitter_s = np.random.default_rng(seed).uniform(-0.004, 0.004, len(steps))
    file["timestamp"] = 1.7e9 + steps / HZ + jitter_s


def _motion(steps: Int64, space: ActionSpace, *, seed: int) -> tuple[Float64, Float64]:
    """Make states [T, 13] and the commands [T, 7] that lead from each to the pose one step later."""
    arm = _arm(steps, seed)
    turn = Rotation.from_matrix(arm.rotation).as_rotvec()
    state = np.column_stack([arm.joint_position_rad, arm.xyz_m, turn, WIDTH_OPEN_M * arm.gripper_open])[steps]
    after = steps + 1
    if space is ActionSpace.ABS_TCP:
        return state, np.column_stack([arm.xyz_m, turn, arm.gripper_open])[after]
    delta = euler_xyz_from_matrix(rotation_delta(arm.rotation[steps], arm.rotation[after]))
    return state, np.column_stack([arm.xyz_m[after] - arm.xyz_m[steps], delta, arm.gripper_open[after]])


def _arm(steps: Int64, seed: int) -> ToyArm:
    return toy_arm(int(steps[-1]) + 2, hz=HZ, seed=seed, num_joints=6)


def _frames(height: int, width: int, steps: Int64, camera: int, number: int) -> Iterator[Image]:
    arm, role = _arm(steps, number), list(CAMERAS)[camera]
    return toy_frames(height, width, steps.tolist(), camera=camera, episode=number, arms=[arm], role=role)


def _write_images(file: h5py.File, key: str, steps: Int64, camera: int, number: int) -> None:
    if number == _RAW_IMAGES:
        frames = list(_frames(256, 256, steps, camera, number))
        file.create_dataset(f"images/{key}", data=np.stack(frames), **_chunks(256, 256, 3))
        return
    stored = file.create_dataset(f"images/{key}", (len(steps),), dtype=h5py.vlen_dtype(np.uint8))
    for row, pixels in enumerate(_frames(480, 640, steps, camera, number)):
        stored[row] = np.frombuffer(simplejpeg.encode_jpeg(pixels, 90, "RGB", "420"), np.uint8)


def _chunks(*shape: int) -> dict[str, object]:
    return {"chunks": (1, *shape), "compression": "gzip", "compression_opts": 1}


def write_ur5e_toy_lerobot(root: str) -> None:
    """Write two recordings in LeRobot form, 320x240 at 30 Hz; the second one failed."""
    write_lerobot(
        root,
        fps=int(HZ),
        info={"action_space": ActionSpace.ABS_TCP.value},
        episodes=[toy_lerobot_episode(number) for number in range(2)],
    )


def toy_lerobot_episode(number: int) -> ToyLeRobotEpisode:
    """Make the recording of this number, 0 or 1, in LeRobot form."""
    steps = np.arange(30 + number)
    state, action = _motion(steps, ActionSpace.ABS_TCP, seed=number)
    return ToyLeRobotEpisode(
        text=_RECORDINGS[number][3],
        meta={"task_id": number + 1, "scene": "scene_000", "success": number == 0},
        columns={"observation.state": state, "action": action},
        videos={
            LEROBOT_IMAGES + key: list(_frames(240, 320, steps, camera, number))
            for camera, key in enumerate(CAMERAS.values())
        },
    )
