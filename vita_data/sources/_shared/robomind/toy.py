"""Writes small RoboMIND trajectories in the real layout, so that readers of the real tree can read a toy tree."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import h5py
import numpy as np
import simplejpeg

from vita_data.formats.toy import ToyArm, toy_frames
from vita_data.geometry import euler_xyz_from_matrix
from vita_data.sources._shared.robomind.frames import FrameBytes
from vita_data.sources._shared.robomind.text import ANNOTATIONS, INSTRUCTION_LIST
from vita_data.types import CameraRole, Float64, Image

_TOY_SIZE = (90, 160)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyTrajectory:
    """A trajectory file to write: its place, readings by key, frames and depth images by camera."""

    place: str
    """Path from the release folder to the episode."""
    readings: Mapping[str, Float64]
    frames: Mapping[str, Sequence[bytes]]
    depths: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


def write_trajectory(root: str, toy: ToyTrajectory) -> None:
    """Write `<root>/<place>/data/trajectory.hdf5` with float64 readings and one entry of bytes per frame."""
    path = Path(root) / toy.place / "data" / "trajectory.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w", locking=False) as file:
        file.attrs.update({"sim": False, "compress": True})
        for key, values in toy.readings.items():
            file[key] = np.asarray(values, np.float64)
        for kind, cameras in (("rgb_images", toy.frames), ("depth_images", toy.depths)):
            for camera, entries in cameras.items():
                dataset = file.create_dataset(
                    f"observations/{kind}/{camera}", (len(entries),), dtype=h5py.vlen_dtype(np.uint8)
                )
                for row, entry in enumerate(entries):
                    dataset[row] = np.frombuffer(entry, np.uint8)


def write_texts(root: str, instructions: Mapping[str, str], summaries: Mapping[str, str]) -> None:
    """Write the instruction list (task -> text) and the annotations (place inside a release -> summary)."""
    with (Path(root) / INSTRUCTION_LIST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", "task", "instruction"])
        writer.writerows([number, task, text] for number, (task, text) in enumerate(instructions.items()))
    (Path(root) / ANNOTATIONS).mkdir()
    for folder in sorted({place.split("/")[0] for place in summaries}):
        items = [_annotation(place, text) for place, text in summaries.items() if place.startswith(f"{folder}/")]
        (Path(root) / ANNOTATIONS / f"{folder}.json").write_text(json.dumps(items, indent=4))


def encoded_frames(
    num_steps: int,
    *,
    camera: int,
    episode: int,
    frame_bytes: FrameBytes,
    arms: Sequence[ToyArm],
    role: CameraRole = CameraRole.PRIMARY,
) -> list[bytes]:
    """Draw frames as the recorder would have encoded them, but smaller than the real ones."""
    frames = toy_frames(*_TOY_SIZE, range(num_steps), camera=camera, episode=episode, arms=arms, role=role)
    return [encode_frame(frame, frame_bytes) for frame in frames]


def encode_frame(pixels: Image, frame_bytes: FrameBytes) -> bytes:
    """Encode an RGB image as the recorder does: passed in the recorder's order, but treated as BGR."""
    recorded = np.ascontiguousarray(_recorded(pixels, frame_bytes))
    return bytes(simplejpeg.encode_jpeg(recorded, 90, "BGR", "420"))


def bare_frame(pixels: Image, frame_bytes: FrameBytes) -> bytes:
    """Convert an RGB image to the raw buffer that is stored if encoding failed."""
    return np.ascontiguousarray(_recorded(pixels, frame_bytes)).tobytes()


def toy_depths(num_steps: int) -> list[bytes]:
    """Make 16-bit PNG depth images in millimetres, with the value 500 + t at step t."""
    images = [np.full((48, 64), 500 + step, np.uint16) for step in range(num_steps)]
    return [cv2.imencode(".png", image)[1].tobytes() for image in images]


def toy_pose(arm: ToyArm) -> Float64:
    """Convert a toy arm's pose to `end_effector` [T, 6]."""
    return np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])


def single_arm_readings(arm: ToyArm) -> dict[str, Float64]:
    """Convert a toy arm to the readings of a Franka or UR; reading the master by mistake would show."""
    elsewhere = np.column_stack([arm.joint_position_rad + 0.1, np.full(len(arm.xyz_m), 0.5)])
    return {
        "puppet/end_effector": toy_pose(arm),
        "puppet/joint_position": np.column_stack([arm.joint_position_rad, 1 - arm.gripper_open]),
        "master/joint_position": elsewhere,
    }


def _annotation(place: str, summary: str) -> dict[str, object]:
    step = {
        "step_description": "move towards the object",
        "start_frame": "camera_top_0000.jpg",
        "end_frame": "camera_top_0010.jpg",
    }
    return {"id": f"{place}/data", "response": {"task_summary": summary, "steps": [step]}}


def _recorded(pixels: Image, frame_bytes: FrameBytes) -> Image:
    return pixels[..., ::-1] if frame_bytes is FrameBytes.RECORDED_BGR else pixels
