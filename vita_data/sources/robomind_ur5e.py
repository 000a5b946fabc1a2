"""RoboMIND, UR-5e: teleoperated single-arm demonstrations in HDF5; `paired`, reached poses.

The facts come from the project's own documents. This folder has most of the trajectories with a stuck hand pose; they
are dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import h5py

from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.sources._shared.robomind.episodes import (
    COMMON_NOTES,
    HZ,
    Recording,
    list_parts,
    present_cameras,
    read_part,
    read_single_arm,
)
from vita_data.sources._shared.robomind.frames import FrameBytes
from vita_data.sources._shared.robomind.toy import (
    ToyTrajectory,
    bare_frame,
    encoded_frames,
    single_arm_readings,
    toy_depths,
    write_texts,
    write_trajectory,
)
from vita_data.sources._shared.robomind.tree import RAW_LAYOUT, RobomindSettings, Trajectory
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    Drop,
    Modality,
    Outcome,
    Part,
    RawTree,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

_FOLDER = "h5_ur_1rgb"
_NUM_JOINTS = 6
_CAMERAS = {CameraRole.PRIMARY: "camera_top"}

INFO = SourceInfo(
    name="robomind_ur5e",
    title="RoboMIND UR-5e",
    embodiment="ur5e",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras=_CAMERAS,
    action_origin=ActionOrigin.REACHED,
    action_space="displacement to the next recorded hand pose, its gripper (stored 1 = closed, turned) and joints",
    text_style=TextStyle.IMPERATIVE,
    licence="Apache-2.0",
    redistributable=True,
    access="login and terms of use",
    url="https://x-humanoid-robomind.github.io/",
    raw_layout=RAW_LAYOUT.format(folders=_FOLDER),
    notes=(
        *COMMON_NOTES,
        "Motion is the pose that the puppet reached, not the master's command.",
    ),
    published_episodes={"VITA Table 10": 25721},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RobomindSettings):
    """Settings (`--set`) of RoboMIND's UR-5e."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per trajectory of the UR folder.

    Raises:
        RequestError: there is no trajectory, several releases have some and none was chosen, or a text file is broken.
    """
    return list_parts(raw, settings, (_FOLDER,))


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the only trajectory of a part."""

    def read(file: h5py.File, trajectory: Trajectory) -> Recording | Drop:
        arm = read_single_arm(file, trajectory, num_joints=_NUM_JOINTS)
        if isinstance(arm, Drop):
            return arm
        present = present_cameras(file)
        return Recording(cameras={role: key for role, key in _CAMERAS.items() if key in present}, right=arm)

    return read_part(raw, part, read, info=INFO, settings=settings, frame_bytes=FrameBytes.RECORDED_BGR)


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_ROOT = f"benchmark1_1_release/{_FOLDER}"
_GARBAGE, _DRAWER = "put_the_garbage_in_the_trash_can_1112", "side_opening_drawer"
_TOY = (  # place, raw steps
    (f"{_TOY_ROOT}/{_DRAWER}/success_episodes/1008_090909", 48),
    (f"{_TOY_ROOT}/{_GARBAGE}/success_episodes/train/1112_171103", 70),
    (f"{_TOY_ROOT}/{_GARBAGE}/success_episodes/train/1112_181818", 40),
    (f"{_TOY_ROOT}/{_GARBAGE}/success_episodes/val/1112_191919", 36),
    (f"{_TOY_ROOT}/{_GARBAGE}/success_episodes/val/1112_202020", 12),
)
_TOY_STUCK, _TOY_BARE = "1112_181818", "1112_171103"
_TOY_BARE_STEP = 30


def write_toy(root: str) -> None:
    """Write five trajectories of 30 Hz.

    One has no train/val level, one has a frame that is a raw buffer of 640x480; one has a stuck hand pose, one is too
    short.
    """
    for number, (place, num_steps) in enumerate(_TOY):
        write_trajectory(root, _toy_trajectory(place, num_steps, number))
    summary = "throwing the garbage into the trash can"
    write_texts(
        root,
        {_GARBAGE: "put the garbage in the trash can"},
        {f"{_FOLDER}/{_GARBAGE}/success_episodes/train/1112_171103": summary},
    )


def _toy_trajectory(place: str, num_steps: int, number: int) -> ToyTrajectory:
    arm = toy_arm(num_steps, hz=HZ, seed=number, num_joints=_NUM_JOINTS)
    readings = single_arm_readings(arm)
    if place.endswith(_TOY_STUCK):
        readings["puppet/end_effector"][:] = readings["puppet/end_effector"][0]
    frames = encoded_frames(num_steps, camera=0, episode=number, frame_bytes=FrameBytes.RECORDED_BGR, arms=[arm])
    if place.endswith(_TOY_BARE):
        pixels = toy_frame(480, 640, step=_TOY_BARE_STEP, camera=0, episode=number, arms=[arm])
        frames[_TOY_BARE_STEP] = bare_frame(pixels, FrameBytes.RECORDED_BGR)
    return ToyTrajectory(
        place=place,
        readings=readings,
        frames={"camera_top": frames},
        depths={"camera_top": toy_depths(num_steps)},
    )
