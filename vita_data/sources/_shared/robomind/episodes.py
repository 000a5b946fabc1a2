"""RoboMIND's HDF5 trajectories: the recording of an arm and its conversion to an Episode, for all of its robots.

Keys and units are those of the project's own documents (x-humanoid-robomind.github.io, all_robot_h5_info_v1.2.md).
Paths are handled in `tree`, frames in `frames`, language in `text`, toy files in `toy`; the sources decide which
camera has which role and what the gripper values mean.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import h5py
import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.hdf5.inside import read_attribute
from vita_data.formats.hdf5.opener import find_dataset, find_node, open_hdf5, read_floats
from vita_data.geometry import matrix_from_euler_xyz
from vita_data.guard import guarded
from vita_data.sources._shared.robomind.frames import (
    FrameBytes,
    FramesWithDepth,
    StoredDepth,
    StoredFrames,
    shows_depth,
    shows_images,
)
from vita_data.sources._shared.robomind.text import check_texts, instructions
from vita_data.sources._shared.robomind.tree import Trajectory, list_trajectories, own_settings, parse_path
from vita_data.types import (
    Arm,
    ArmAction,
    CameraRole,
    Drop,
    Episode,
    Float64,
    Json,
    Outcome,
    Part,
    PoseTarget,
    RawTree,
    Reason,
    SourceInfo,
    SourceSettings,
)

HZ = 30.0
"""The default rate according to the maintainers (RoboMIND site, issue 2); the files have no time stamps."""
COMMON_NOTES = (
    "The files hold no time stamps: 30 Hz is the maintainers' word; --set hz= where yours differ.",
    "Trajectories whose hand pose stands still while the joints move (a collection bug) are dropped as stuck_eef.",
    "The last raw step has no pose to reach and is no row. Simulated folders are not read.",
    "A text of origin task_name is the task folder's name; the instruction list lies in the raw folder or beside it.",
)
_STILL = 1e-3
"""A reading with a range below this (m or rad) does not move (RoboMIND-dataset-utils, robomind_check.py)."""
_RGB, _DEPTH = "observations/rgb_images", "observations/depth_images"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLog:
    """One arm as recorded, T raw steps."""

    xyz_m: Float64
    """[T, 3] in the arm's own base frame."""
    euler_rad: Float64
    """[T, 3] roll, pitch, yaw."""
    joint_rad: Float64
    """[T, number of joints]"""
    gripper_raw: Float64
    """[T] in the robot's own convention."""
    velocity_rad_s: Float64 | None = None
    """[T, number of joints]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One trajectory file as read by its source."""

    cameras: Mapping[CameraRole, str]
    """Keys of `present_cameras` by role; an episode without a primary camera is dropped later."""
    right: Arm
    left: Arm | None = None
    extras: Json = field(default_factory=dict)


Reader = Callable[[h5py.File, Trajectory], Recording | Drop]


def list_parts(raw: RawTree, settings: SourceSettings, folders: tuple[str, ...]) -> list[Part]:
    """List one part per trajectory of the robot's folders.

    Raises:
        RequestError: there is no trajectory; several releases are found and none was chosen; or the instruction list or
            an annotation file is invalid, which is reported here once instead of for every trajectory.
    """
    found = list_trajectories(raw, settings, folders)
    check_texts(raw, folders)
    return found


def read_part(
    raw: RawTree, part: Part, read: Reader, *, info: SourceInfo, settings: SourceSettings, frame_bytes: FrameBytes
) -> Iterator[Outcome]:
    """Yield the result of `read` for a part's only trajectory; an unreadable file is a Failure with its id."""
    trajectory = parse_path(part.id)

    def outcome() -> Outcome:
        with open_hdf5(raw.local_path(part.id), name=part.id) as file:
            _refuse_simulated(file, trajectory)
            recording = read(file, trajectory)
            if isinstance(recording, Drop):
                return recording
            opened = _Opened(raw=raw, file=file, trajectory=trajectory, info=info, settings=settings)
            return _episode(opened, recording, frame_bytes)

    yield guarded(trajectory.id, outcome)


def read_arm_log(file: h5py.File, *, side: str = "", num_joints: int, pose_width: int, name: str) -> ArmLog:
    """Read the measurements of the moving (puppet) arm; `side` is the suffix of its keys.

    Source: end_effector = x y z m, roll pitch yaw rad (and, seven wide, the gripper); joint_position = joints rad and
    the gripper last (all_robot_h5_info_v1.2.md).

    Raises:
        EpisodeError: a key is missing or has another width, or the lengths differ.
    """

    def readings(key: str, width: int) -> Float64:
        values = read_floats(file, f"{key}{side}", width=width, name=name)
        refuse_length(f"{key}{side}", len(values), num_steps=len(pose), name=name)
        return values

    pose = read_floats(file, f"puppet/end_effector{side}", width=pose_width, name=name)
    joints, velocity = readings("puppet/joint_position", num_joints + 1), None
    if f"puppet/joint_velocity{side}" in file:
        velocity = readings("puppet/joint_velocity", num_joints + 1)[:, :num_joints]
    return ArmLog(
        xyz_m=pose[:, :3],
        euler_rad=pose[:, 3:6],
        joint_rad=joints[:, :num_joints],
        gripper_raw=joints[:, num_joints],
        velocity_rad_s=velocity,
    )


def unusable(trajectory: Trajectory, *logs: ArmLog) -> Drop | None:
    """Tell why a trajectory cannot be used: no rows, NaN, or a hand pose that does not move while the joints do.

    The stuck pose is a known collection bug (RoboMIND README); the gripper does not count as a joint here.

    Assumes: a trajectory with one stuck arm of two is dropped like any other; forward kinematics are not recomputed.
    """
    if (num_steps := len(logs[0].xyz_m)) < 2:
        detail = f"{num_steps} raw steps have no pose that is reached"
        return Drop(episode=trajectory.id, reason=Reason.SHORT, detail=detail)
    for log in logs:
        pose = np.hstack([log.xyz_m, log.euler_rad])
        if not (np.isfinite(pose).all() and np.isfinite(log.joint_rad).all() and np.isfinite(log.gripper_raw).all()):
            return Drop(episode=trajectory.id, reason=Reason.NONFINITE, detail="puppet readings hold NaN or infinity")
        hand, joints = _range(pose), _range(log.joint_rad)
        if hand < _STILL < joints:
            detail = f"end_effector stays within {hand:.1g} while a joint moves {joints:.2g} rad"
            return Drop(episode=trajectory.id, reason=Reason.STUCK_EEF, detail=detail)
    return None


def read_single_arm(file: h5py.File, trajectory: Trajectory, *, num_joints: int) -> Arm | Drop:
    """Read the only arm of a Franka or UR: motion, gripper and joints of the puppet, not of the master.

    Source: the maintainers predict the puppet (RoboMIND site, issue 3; robomind.yaml, action_arm_key); the stored
        gripper
    is 1 = closed, 0 = open (X-VLA's RoboMIND handler).

    Raises:
        EpisodeError: a key is missing or has another width, or the lengths differ.
    """
    log = read_arm_log(file, num_joints=num_joints, pose_width=6, name=trajectory.path)
    if drop := unusable(trajectory, log):
        return drop
    gripper_open = 1.0 - log.gripper_raw
    return reached_arm(
        log, gripper_open=gripper_open, gripper_action=gripper_open[1:], joint_target_rad=log.joint_rad[1:]
    )


def reached_arm(log: ArmLog, *, gripper_open: Float64, gripper_action: Float64, joint_target_rad: Float64) -> Arm:
    """Make the T-1 rows whose action is the pose recorded one step later.

    Args:
        log: T raw steps.
        gripper_open: [T] measured opening, 1 open.
        gripper_action: [T-1] the opening of each row's action.
        joint_target_rad: [T-1, joints] the joint targets of each row's action.

    Assumes: roll, pitch, yaw are extrinsic xyz angles; RoboMIND does not name a convention.
    """
    rotation = matrix_from_euler_xyz(log.euler_rad)
    return Arm(
        xyz_m=log.xyz_m[:-1],
        rotation=rotation[:-1],
        gripper_open=gripper_open[:-1],
        joint_position_rad=log.joint_rad[:-1],
        joint_velocity_rad_s=None if log.velocity_rad_s is None else log.velocity_rad_s[:-1],
        action=ArmAction(
            motion=PoseTarget(xyz_m=log.xyz_m[1:], rotation=rotation[1:]),
            gripper_open=gripper_action,
            joint_target_rad=joint_target_rad,
        ),
    )


def present_cameras(file: h5py.File) -> frozenset[str]:
    """Return the colour cameras that have frames.

    Some trajectories lack a camera: its key is missing, its dataset is empty, or none of its entries is an image.
    """
    name = PurePosixPath(file.filename).name
    group = find_node(file, _RGB, name=name)
    if not isinstance(group, h5py.Group):
        return frozenset()
    cameras = {key: find_node(group, key, name=name) for key in group}
    return frozenset(key for key, found in cameras.items() if isinstance(found, h5py.Dataset) and shows_images(found))


def refuse_length(what: str, length: int, *, num_steps: int, name: str) -> None:
    """Refuse readings of another length than the steps.

    Raises:
        EpisodeError: `length` is not the number of steps.
    """
    if length != num_steps:
        raise EpisodeError(f"{name}: {what} has {length} steps but end_effector has {num_steps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """An opened trajectory file and its trajectory."""

    raw: RawTree
    file: h5py.File
    trajectory: Trajectory
    info: SourceInfo
    settings: SourceSettings


def _episode(opened: _Opened, recording: Recording, frame_bytes: FrameBytes) -> Episode:
    trajectory, info, num_rows = opened.trajectory, opened.info, _num_rows(recording, opened.trajectory)
    name = trajectory.path

    def images(kind: str, key: str) -> h5py.Dataset:
        found = find_dataset(opened.file, f"{kind}/{key}", name=name)
        refuse_length(f"{kind}/{key}", len(found), num_steps=num_rows + 1, name=name)
        return found

    cameras = recording.cameras
    has_depth = own_settings(opened.settings).depth
    depths = {
        role: StoredDepth(images(_DEPTH, key), name=name)
        for role, key in cameras.items()
        if has_depth and f"{_DEPTH}/{key}" in opened.file and shows_depth(images(_DEPTH, key))
    }
    frames = {
        role: StoredFrames(images(_RGB, key), num_frames=num_rows, frame_bytes=frame_bytes, name=name)
        for role, key in cameras.items()
    }
    return Episode(
        id=trajectory.id,
        source=info.name,
        release=trajectory.release,
        split=trajectory.split,
        embodiment=info.embodiment,
        arms=info.arms,
        hz=opened.settings.hz or HZ,
        step_index=np.arange(num_rows, dtype=np.int64),
        instructions=instructions(opened.raw, trajectory),
        cameras={
            role: FramesWithDepth(stream, depths[role]) if role in depths else stream for role, stream in frames.items()
        },
        depths=depths,
        right=recording.right,
        left=recording.left,
        action_origin=info.action_origin,
        provenance={"file": trajectory.path, "record": trajectory.episode, "task": trajectory.task},
        extras=recording.extras,
    )


def _num_rows(recording: Recording, trajectory: Trajectory) -> int:
    lengths = [len(arm.xyz_m) for arm in (recording.right, recording.left) if arm and arm.xyz_m is not None]
    if len(set(lengths)) != 1:
        raise EpisodeError(f"{trajectory.path}: the two arms have {' and '.join(str(n + 1) for n in lengths)} steps")
    return lengths[0]


def _refuse_simulated(file: h5py.File, trajectory: Trajectory) -> None:
    if bool(read_attribute(file, "sim")):
        raise EpisodeError(
            f"{trajectory.path}: a simulated trajectory (attribute sim) in a folder of the real robot; remove it"
        )


def _range(values: Float64) -> float:
    return float(np.ptp(values, axis=0).max())
