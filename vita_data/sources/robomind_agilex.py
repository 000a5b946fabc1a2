"""RoboMIND, AgileX Cobot Magic: teleoperated dual-arm demonstrations in HDF5; `paired`, reached poses of both arms.

The facts come from the project's own documents. Colours need care: this robot's frames were recorded in RGB, so that an
ordinary JPEG decoder swaps red and blue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from vita_data.errors import RequestError
from vita_data.formats.hdf5.opener import read_floats
from vita_data.formats.toy import ToyArm, toy_arm, toy_frame
from vita_data.sources._shared.robomind.episodes import (
    COMMON_NOTES,
    HZ,
    ArmLog,
    Recording,
    list_parts,
    present_cameras,
    reached_arm,
    read_arm_log,
    read_part,
    refuse_length,
    unusable,
)
from vita_data.sources._shared.robomind.frames import FrameBytes
from vita_data.sources._shared.robomind.toy import (
    ToyTrajectory,
    bare_frame,
    encoded_frames,
    toy_depths,
    toy_pose,
    write_texts,
    write_trajectory,
)
from vita_data.sources._shared.robomind.tree import RAW_LAYOUT, RobomindSettings, Trajectory
from vita_data.types import (
    ActionOrigin,
    Arm,
    Arms,
    CameraRole,
    Drop,
    Float64,
    Modality,
    Outcome,
    Part,
    RawTree,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

_FOLDER = "h5_agilex_3rgb"
_NUM_JOINTS = 6
_CAMERAS = {
    CameraRole.PRIMARY: "camera_front",
    CameraRole.WRIST_LEFT: "camera_left_wrist",
    CameraRole.WRIST_RIGHT: "camera_right_wrist",
}
_LEFT, _RIGHT = "_left", "_right"

INFO = SourceInfo(
    name="robomind_agilex",
    title="RoboMIND AgileX",
    embodiment="agilex",
    arms=Arms.BOTH,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras=_CAMERAS,
    action_origin=ActionOrigin.REACHED,
    action_space="each arm: displacement to the puppet's next hand pose; joint targets and gripper of the master",
    text_style=TextStyle.IMPERATIVE,
    licence="Apache-2.0",
    redistributable=True,
    access="login and terms of use",
    url="https://x-humanoid-robomind.github.io/",
    raw_layout=RAW_LAYOUT.format(folders=_FOLDER),
    notes=(
        *COMMON_NOTES,
        "Poses are those the puppet reached; joint targets and the gripper action are the master's, who drives it.",
        "Gripper: larger is open, raw / gripper_open_raw (RDT's 4.79) clipped to 0..1, of puppet and master alike; "
        "projects disagree about it, the probe P3 tells.",
        "Each arm's poses are in its own base frame, as recorded.",
        "The channels of the frames are turned round: they were recorded in RGB and encoded as if BGR.",
    ),
    published_episodes={"VITA Table 10": 10059},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RobomindSettings):
    """Settings (`--set`) of RoboMIND's AgileX."""

    gripper_open_raw: float = 4.79
    """The raw reading of an open gripper (RDT, hdf5_vla_dataset.py, divides the state by it)."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per trajectory of the AgileX folder.

    Raises:
        RequestError: there is no trajectory, several releases have some and none was chosen, a text file is broken, or
            the gripper's scale is not positive.
    """
    if not (open_raw := _own(settings).gripper_open_raw) > 0:
        raise RequestError(f"--set gripper_open_raw={open_raw:g}: expected a number greater than 0")
    return list_parts(raw, settings, (_FOLDER,))


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the only trajectory of a part."""
    open_raw = _own(settings).gripper_open_raw

    def read(file: h5py.File, trajectory: Trajectory) -> Recording | Drop:
        logs = {
            side: read_arm_log(file, side=side, num_joints=_NUM_JOINTS, pose_width=7, name=part.id)
            for side in (_LEFT, _RIGHT)
        }
        if drop := unusable(trajectory, *logs.values()):
            return drop
        present = present_cameras(file)
        return Recording(
            cameras={role: key for role, key in _CAMERAS.items() if key in present},
            right=_arm(file, _RIGHT, logs[_RIGHT], open_raw, part.id),
            left=_arm(file, _LEFT, logs[_LEFT], open_raw, part.id),
            extras={"gripper_open_raw": open_raw},
        )

    return read_part(raw, part, read, info=INFO, settings=settings, frame_bytes=FrameBytes.RECORDED_RGB)


def _arm(file: h5py.File, side: str, log: ArmLog, open_raw: float, name: str) -> Arm:
    key = f"master/joint_position{side}"
    master = read_floats(file, key, width=_NUM_JOINTS + 1, name=name)
    refuse_length(key, len(master), num_steps=len(log.xyz_m), name=name)
    return reached_arm(
        log,
        gripper_open=_opening(log.gripper_raw, open_raw),
        gripper_action=_opening(master[:-1, _NUM_JOINTS], open_raw),
        joint_target_rad=master[:-1, :_NUM_JOINTS],
    )


def _opening(gripper_raw: Float64, open_raw: float) -> Float64:
    """Scale raw readings [T] to 1 = open; values beyond are clipped later, after a probe has measured them."""
    return gripper_raw / open_raw


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"expected the Settings of robomind_agilex, got {type(settings).__name__}")
    return settings


# ------------------------------------------------------------------------------------------------------- toy tree

_CORN, _MUGS = "20_takecorn_2", "mobile_marco_cup"
_TOY_ROOT = f"benchmark1_1_release/{_FOLDER}"
_TOY = (  # place, raw steps
    (f"{_TOY_ROOT}/{_MUGS}/success_episodes/2024_09_30-10_10_10-172766221000000000.00", 40),
    (f"{_TOY_ROOT}/{_CORN}/success_episodes/train/2024_10_08-16_13_09-172910045527931776.00", 62),
    (f"{_TOY_ROOT}/{_CORN}/success_episodes/train/2024_10_08-16_20_20-172910088027931776.00", 34),
    (f"{_TOY_ROOT}/{_CORN}/success_episodes/val/2024_10_08-16_30_30-172910149027931776.00", 33),
    (f"{_TOY_ROOT}/{_CORN}/success_episodes/val/2024_10_08-16_40_40-172910210027931776.00", 10),
)
_TOY_STUCK, _TOY_BARE = 2, 1
_TOY_BARE_STEP = 30
_TOY_OPEN_RAW = 4.79
_TOY_LEAD = 2
"""Number of steps by which the master is ahead of the puppet."""


def write_toy(root: str) -> None:
    """Write five trajectories of 30 Hz, the master two steps ahead of the puppet.

    One has no train/val level, one has a frame that is a raw buffer of 640x480; in one the left hand pose is stuck, one
    is too short.
    """
    for number, (place, num_steps) in enumerate(_TOY):
        write_trajectory(root, _toy_trajectory(place, num_steps, number))
    corn = "pick up the corn on the left,put the corn on the plate,close the lid of the pot with the right arm"
    write_texts(root, {_CORN: corn, _MUGS: "put the mug on the coaster"}, {})


def _toy_trajectory(place: str, num_steps: int, number: int) -> ToyTrajectory:
    left, right = (
        toy_arm(num_steps + _TOY_LEAD, hz=HZ, seed=2 * number + index, num_joints=_NUM_JOINTS) for index in (0, 1)
    )
    frames = {
        key: encoded_frames(
            num_steps,
            camera=camera,
            episode=number,
            frame_bytes=FrameBytes.RECORDED_RGB,
            arms=(right, left),
            role=role,
        )
        for camera, (role, key) in enumerate(_CAMERAS.items())
    }
    if number == _TOY_BARE:
        pixels = toy_frame(480, 640, step=_TOY_BARE_STEP, camera=0, episode=number, arms=(right, left))
        frames["camera_front"][_TOY_BARE_STEP] = bare_frame(pixels, FrameBytes.RECORDED_RGB)
    readings: dict[str, Float64] = {}
    for side, arm in ((_LEFT, left), (_RIGHT, right)):
        for owner, at in (("puppet", slice(0, num_steps)), ("master", slice(_TOY_LEAD, None))):
            readings |= {f"{owner}/{key}{side}": values[at] for key, values in _toy_readings(arm).items()}
    if number == _TOY_STUCK:
        readings[f"puppet/end_effector{_LEFT}"][:, :6] = readings[f"puppet/end_effector{_LEFT}"][0, :6]
    return ToyTrajectory(
        place=place, readings=readings, frames=frames, depths={key: toy_depths(num_steps) for key in frames}
    )


def _toy_readings(arm: ToyArm) -> dict[str, Float64]:
    gripper = arm.gripper_open * _TOY_OPEN_RAW
    return {
        "end_effector": np.column_stack([toy_pose(arm), gripper]),
        "joint_position": np.column_stack([arm.joint_position_rad, gripper]),
        "joint_velocity": np.column_stack([arm.joint_velocity_rad_s, np.zeros_like(gripper)]),
        "joint_effort": np.zeros((len(gripper), _NUM_JOINTS + 1)),
    }
