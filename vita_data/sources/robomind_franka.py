"""RoboMIND, Franka Panda: teleoperated single-arm demonstrations in HDF5; `paired`, reached poses.

The facts come from the project's own documents. Two folders are read: one with three outer cameras (`h5_franka_3rgb`)
and one with a single camera (`h5_franka_1rgb`). The dual-arm and the simulated Franka folders are not read.
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

_FOLDERS = ("h5_franka_1rgb", "h5_franka_3rgb")
_NUM_JOINTS = 7
_TOP, _LEFT, _RIGHT = "camera_top", "camera_left", "camera_right"
_VIEWS = (
    {CameraRole.PRIMARY: _TOP, CameraRole.SECONDARY: _LEFT},
    {CameraRole.PRIMARY: _LEFT, CameraRole.SECONDARY: _RIGHT},
)
"""Roles in order of preference: 675 trajectories have no top camera (franka_3rgb_2cam_paths.md)."""

INFO = SourceInfo(
    name="robomind_franka",
    title="RoboMIND Franka",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras={
        CameraRole.PRIMARY: f"{_TOP}, else {_LEFT}",
        CameraRole.SECONDARY: f"{_LEFT}, or {_RIGHT} where {_LEFT} is primary",
    },
    action_origin=ActionOrigin.REACHED,
    action_space="displacement to the next recorded hand pose, its gripper (stored 1 = closed, turned) and joints",
    text_style=TextStyle.IMPERATIVE,
    licence="Apache-2.0",
    redistributable=True,
    access="login and terms of use",
    url="https://x-humanoid-robomind.github.io/",
    raw_layout=RAW_LAYOUT.format(folders="{h5_franka_1rgb,h5_franka_3rgb}"),
    notes=(
        *COMMON_NOTES,
        "Motion is the pose that the puppet reached, not the master's command.",
        "Left and right are outer cameras, there is no wrist camera; without a top camera left is primary.",
        "The dual-arm folder (h5_franka_fr3_dual) is not read.",
    ),
    published_episodes={"VITA Table 10": 16018},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RobomindSettings):
    """Settings (`--set`) of RoboMIND's Franka."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per trajectory of the two Franka folders.

    Raises:
        RequestError: there is no trajectory, several releases have some and none was chosen, or a text file is broken.
    """
    return list_parts(raw, settings, _FOLDERS)


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the only trajectory of a part."""

    def read(file: h5py.File, trajectory: Trajectory) -> Recording | Drop:
        arm = read_single_arm(file, trajectory, num_joints=_NUM_JOINTS)
        if isinstance(arm, Drop):
            return arm
        present = present_cameras(file)
        views = next((views for views in _VIEWS if views[CameraRole.PRIMARY] in present), {})
        return Recording(cameras={role: key for role, key in views.items() if key in present}, right=arm)

    return read_part(raw, part, read, info=INFO, settings=settings, frame_bytes=FrameBytes.RECORDED_BGR)


# ------------------------------------------------------------------------------------------------------- toy tree

_ONE_CAMERA, _THREE_CAMERAS = "benchmark1_1_release/h5_franka_1rgb", "benchmark1_1_release/h5_franka_3rgb"
_CLOSE, _APPLES, _GLUED = "241021_close_trash_bin_1", "apples_placed_on_a_ceramic_plate", "35_putcarrot"
_OUTER = (_TOP, _LEFT, _RIGHT)
_TOY = (  # place, cameras, raw steps
    (f"{_ONE_CAMERA}/bread_in_basket/success_episodes/1014_144602", (_TOP,), 34),
    (f"{_THREE_CAMERAS}/{_CLOSE}/success_episodes/train/1021_101010", _OUTER, 46),
    (f"{_THREE_CAMERAS}/{_CLOSE}/success_episodes/val/1021_111111", (_LEFT, _RIGHT), 40),
    (f"{_THREE_CAMERAS}/{_APPLES}/success_episodes/train/1112_141543", _OUTER, 36),
    (f"{_THREE_CAMERAS}/{_APPLES}/success_episodes/train/1112_151515", _OUTER, 9),
    (f"{_THREE_CAMERAS}/{_APPLES}/success_episodes/train/1112_161616", _OUTER, 30),
    (f"{_THREE_CAMERAS}/{_GLUED}/success_episodes/train/1030_121212", (_TOP,), 20),
)
_TOY_STUCK, _TOY_BARE = "1112_161616", "1021_101010"
_TOY_BARE_STEP = 30


def write_toy(root: str) -> None:
    """Write seven trajectories of 30 Hz.

    One has no train/val level, one has no top camera, one a frame that is a raw buffer of 1280x720; one is too short,
    one has a stuck hand pose, one a glued text.
    """
    for number, (place, cameras, num_steps) in enumerate(_TOY):
        write_trajectory(root, _toy_trajectory(place, cameras, num_steps, number))
    described = f"{_THREE_CAMERAS.split('/')[1]}/{_CLOSE}/success_episodes/train/1021_101010"
    write_texts(
        root,
        {"bread_in_basket": "place the bread in the basket", _CLOSE: "close the trash bin", _GLUED: "putcarrot"},
        {described: "closing the lid of the trash bin"},
    )


def _toy_trajectory(place: str, cameras: tuple[str, ...], num_steps: int, number: int) -> ToyTrajectory:
    arm = toy_arm(num_steps, hz=HZ, seed=number, num_joints=_NUM_JOINTS)
    readings = single_arm_readings(arm)
    if place.endswith(_TOY_STUCK):
        readings["puppet/end_effector"][:] = readings["puppet/end_effector"][0]
    frames = {
        key: encoded_frames(
            num_steps,
            camera=_OUTER.index(key),
            episode=number,
            frame_bytes=FrameBytes.RECORDED_BGR,
            arms=[arm],
            role=CameraRole.PRIMARY if key == _TOP else CameraRole.SECONDARY,
        )
        for key in cameras
    }
    if place.endswith(_TOY_BARE):
        pixels = toy_frame(720, 1280, step=_TOY_BARE_STEP, camera=_OUTER.index(_TOP), episode=number, arms=[arm])
        frames[_TOP][_TOY_BARE_STEP] = bare_frame(pixels, FrameBytes.RECORDED_BGR)
    return ToyTrajectory(
        place=place,
        readings=readings,
        frames=frames,
        depths={key: toy_depths(num_steps) for key in cameras},
    )
