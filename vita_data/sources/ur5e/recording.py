"""Recordings of the UR-5e set in their two forms, HDF5 and LeRobot, read into one value.

The set of VITA 10.2 is not published; this module defines the forms. The source decides what an action means, which
recordings are used and in which units they are stored.

Assumes: HDF5 datasets `images/{third_person,wrist}` (JPEG bytes, or uint8 [T, h, w, 3]), `depth/{third_person,wrist}`
    (optional, float32 [T, h, w] m), `state/joint_position` [T, 6] rad, `state/tcp_pose` [T, 6] (xyz m, axis-angle
    rad), `state/gripper_width` [T, 1] m, `action` [T, 7], `timestamp` [T] s, and as attributes of the file:
    instruction, task_id, task_type, success, intrinsics, extrinsics, action_space. In LeRobot form
    `observation.state` [13] holds the three of `state/` in this order, cameras are
    `observation.images.{third_person,wrist}`, there is no depth, and the attributes are fields of the episode's line
    in `meta/episodes.jsonl`, else of `meta/info.json`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import h5py
import numpy as np

from vita_data.errors import EpisodeError, RequestError, raise_machine_fault
from vita_data.formats.encoded_frames import is_image
from vita_data.formats.hdf5.frames import DepthDataset, EncodedDataset, any_entry
from vita_data.formats.hdf5.inside import read_attribute, require_readable_at_once
from vita_data.formats.hdf5.opener import DatasetStream, find_dataset, open_hdf5, read_floats
from vita_data.formats.json_text import parse_json
from vita_data.formats.lerobot.cameras import TIME, open_camera
from vita_data.formats.lerobot.dataset import read_column, read_table
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.features import require_features
from vita_data.formats.lerobot.info import INFO_FILE
from vita_data.formats.lerobot.meta import LeRobotDataset, find_lerobot, open_lerobot
from vita_data.types import CameraRole, CameraStream, DepthStream, Float64, Json, RawTree

HZ = 30.0
"""Rate of the commands (VITA 10.2)."""
WIDTH_OPEN_M = 0.085
"""Stroke of the Robotiq 2F-85."""
CAMERAS = {CameraRole.PRIMARY: "third_person", CameraRole.WRIST_RIGHT: "wrist"}
LEROBOT_IMAGES = "observation.images."
_STATE, _ACTION = "observation.state", "action"
_WIDTHS = {_STATE: 13, _ACTION: 7}
_VECTORS = ("state/joint_position", "state/tcp_pose", "state/gripper_width", "timestamp")


class ActionSpace(StrEnum):
    """The meaning of the seven numbers of an action."""

    DELTA_BASE = "delta_base"
    ABS_TCP = "abs_tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ur5eRecording:
    """One episode of T rows as recorded, independent of its storage form."""

    joints_rad: Float64
    """[T, 6]"""
    tcp: Float64
    """[T, 6] xyz m, axis-angle rad"""
    width_m: Float64
    """[T]"""
    action: Float64
    """[T, 7]"""
    time_s: Float64
    """[T]"""
    cameras: Mapping[CameraRole, CameraStream]
    depths: Mapping[CameraRole, DepthStream]
    texts: tuple[str, ...]
    attributes: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ur5eTable:
    """A recording in LeRobot form, not yet read, and all fields that describe it."""

    episode: LeRobotEpisode
    attributes: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ur5eCommands:
    """The commands of a recording and their times."""

    action: Float64
    """[T, 7]"""
    time_s: Float64
    """[T]"""


def read_hdf5_commands(path: str, *, name: str) -> Ur5eCommands:
    """Read only the commands of an HDF5 file; raises as `read_hdf5_recording`."""
    with open_hdf5(path, name=name) as file:
        action = read_floats(file, "action", width=_WIDTHS[_ACTION], name=name)
        return Ur5eCommands(action=action, time_s=_scalars(file, "timestamp", name))


def read_lerobot_commands(raw: RawTree, stored: Ur5eTable) -> Ur5eCommands:
    """Read only the commands of a table; raises as `read_lerobot_recording`."""
    name = stored.episode.table
    table = read_table(raw, stored.episode, (_ACTION, TIME))
    action = read_column(table, _ACTION, width=_WIDTHS[_ACTION], name=name)
    return Ur5eCommands(action=action, time_s=read_column(table, TIME, width=1, name=name)[:, 0])


def read_hdf5_recording(path: str, *, name: str, with_depth: bool) -> Ur5eRecording:
    """Read one HDF5 file except its images; a camera without any image is omitted.

    Args:
        path: the file on disk.
        name: the path `<task_id>/<scene>/<episode>.hdf5` in the raw tree.
        with_depth: whether to read depth; otherwise `depth` is ignored.

    Raises:
        SourceError: the file cannot be opened.
        EpisodeError: a dataset is missing, damaged, or has another shape or another length than the actions.
    """
    with open_hdf5(path, name=name) as file:
        return _from_hdf5(file, name, _present(file, "depth", name) if with_depth else {})


def require_lerobot(raw: RawTree, *, hz: float, tolerance: float) -> None:
    """Refuse LeRobot datasets with other columns, cameras or another rate, before any episode is read.

    Args:
        raw: the raw tree.
        hz: the expected rate.
        tolerance: allowed relative difference of a dataset's rate.

    Raises:
        RequestError: names the values found and expected.
        SourceError: a dataset's description cannot be read.
    """
    for dataset in _open_all(raw):
        cameras = [LEROBOT_IMAGES + camera for camera in CAMERAS.values()]
        require_features(raw, dataset, columns=_WIDTHS, cameras=cameras[:1], optional_cameras=cameras[1:])
        if abs(dataset.fps / hz - 1) > tolerance:
            name = PurePosixPath(dataset.root) / INFO_FILE
            told = f"fps is {dataset.fps:g}, expected {hz:g}; if {dataset.fps:g} is right, add --set hz={dataset.fps:g}"
            raise RequestError(f"{name} in {raw.root}: {told}")


def _open_all(raw: RawTree) -> list[LeRobotDataset]:
    return [open_lerobot(raw, root) for root in find_lerobot(raw)]


def list_lerobot_recordings(raw: RawTree) -> Mapping[str, Ur5eTable]:
    """Map each episode of the tree's LeRobot datasets, by its table, to its description.

    Raises:
        RequestError: a dataset has another format version.
        SourceError: a dataset's description cannot be read.
    """
    datasets = _open_all(raw)
    return {
        episode.id: Ur5eTable(episode=episode, attributes={**dataset.info, **episode.meta})
        for dataset in datasets
        for episode in dataset.episodes
    }


def read_lerobot_recording(raw: RawTree, stored: Ur5eTable) -> Ur5eRecording:
    """Read one table and list its videos.

    Raises:
        EpisodeError: the table or a video is missing or damaged, or their lengths differ.
    """
    episode, name = stored.episode, stored.episode.table
    table = read_table(raw, episode, (*_WIDTHS, TIME))
    state = read_column(table, _STATE, width=_WIDTHS[_STATE], name=name)
    keys = [(role, LEROBOT_IMAGES + camera) for role, camera in CAMERAS.items()]
    return Ur5eRecording(
        joints_rad=state[:, :6],
        tcp=state[:, 6:12],
        width_m=state[:, 12],
        action=read_column(table, _ACTION, width=_WIDTHS[_ACTION], name=name),
        time_s=read_column(table, TIME, width=1, name=name)[:, 0],
        cameras={role: open_camera(raw, episode, key, table=table) for role, key in keys if key in episode.cameras},
        depths={},
        texts=episode.texts or ("",),
        attributes=stored.attributes,
    )


def _from_hdf5(file: h5py.File, name: str, depths: Mapping[CameraRole, str]) -> Ur5eRecording:
    action = read_floats(file, "action", width=7, name=name)
    attributes = {key: _plain(read_attribute(file, key)) for key in file.attrs}
    images = _present(file, "images", name)
    for key in (*_VECTORS, *images.values(), *depths.values()):
        if (found := find_dataset(file, key, name=name)).shape[:1] != (len(action),):
            raise EpisodeError(f"{name}: {key} has shape {found.shape} but there are {len(action)} actions")
    return Ur5eRecording(
        joints_rad=read_floats(file, "state/joint_position", width=6, name=name),
        tcp=read_floats(file, "state/tcp_pose", width=6, name=name),
        width_m=_scalars(file, "state/gripper_width", name),
        action=action,
        time_s=_scalars(file, "timestamp", name),
        cameras={role: _images(file, key, name) for role, key in images.items()},
        depths={role: DepthDataset(find_dataset(file, key, name=name), name=name) for role, key in depths.items()},
        texts=(str(attributes.get("instruction", "")),),
        attributes=attributes | {"scene": PurePosixPath(name).parts[1]},
    )


def _present(file: h5py.File, group: str, name: str) -> dict[CameraRole, str]:
    stored = {role: f"{group}/{key}" for role, key in CAMERAS.items() if f"{group}/{key}" in file}
    return {role: key for role, key in stored.items() if any_entry(find_dataset(file, key, name=name), is_image)}


def _images(file: h5py.File, key: str, name: str) -> CameraStream:
    found = find_dataset(file, key, name=name)
    if found.ndim == 1:
        return EncodedDataset(found, name=name)
    return DatasetStream(found, rows=np.arange(len(found)), name=name)


def _scalars(file: h5py.File, key: str, name: str) -> Float64:
    """Read one number per row, stored as [T] or as [T, 1]."""
    found = find_dataset(file, key, name=name)
    if found.ndim == 2:
        return read_floats(file, key, width=1, name=name)[:, 0]
    require_readable_at_once(found, name=name)
    try:
        return np.asarray(found[()], np.float64).reshape(-1)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: {key} cannot be read as one number per row; the file is damaged") from error


def finite(value: object) -> object:
    """Replace NaN and infinity, which JSON lacks, by null in a value that may be nested."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [finite(item) for item in value]
        case dict():
            return {key: finite(item) for key, item in value.items()}
    return value


def _plain(value: object) -> object:
    """Convert an HDF5 attribute to a JSON value; a text that is JSON is parsed."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value
