"""One demonstration of LIBERO's HDF5 layout, official or replayed, read into one value.

Keys and shapes are those of LIBERO's recorder, which OpenVLA's replay keeps. The source interprets the actions;
`release` detects which release a file belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np

from vita_data.errors import EpisodeError, raise_machine_fault
from vita_data.formats.hdf5.opener import DatasetStream, find_dataset, read_floats
from vita_data.formats.hdf5.rows import DAMAGE
from vita_data.types import CameraRole, CameraStream, Float64, Int64

CAMERAS = {CameraRole.PRIMARY: "agentview_rgb", CameraRole.WRIST_RIGHT: "eye_in_hand_rgb"}
_STATE_WIDTHS = {"ee_pos": 3, "ee_ori": 3, "gripper_states": 2}
_JOINTS = "joint_states"
_NOOP_NORM = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoDemo:
    """The kept rows of a demonstration, each with the action issued for it."""

    rows: Int64
    """[T] native rows of the observations; empty if all actions are no-ops."""
    num_actions: int
    """Number of actions in the file, including no-ops."""
    state: Float64
    """[T, 8] hand position m, axis-angle rad, two finger positions m"""
    joints_rad: Float64
    """[T, 7]"""
    action: Float64
    """[T, 7] raw command"""
    cameras: Mapping[CameraRole, CameraStream]


def read_libero_demo(demo: h5py.Group, *, rows_to_action: int, strides: tuple[int, int], name: str) -> LiberoDemo:
    """Read one demonstration without its no-ops; images are read lazily and flipped by `strides`.

    Args:
        demo: the group of the demonstration.
        rows_to_action: by how many rows the action issued for an observation follows it.
        strides: strides along the rows and columns of an image.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: a key is missing, damaged, or has another shape or another length than the actions.
    """
    command = read_floats(demo, "actions", width=7, name=name)
    paired = command[rows_to_action:]
    rows = _kept_rows(paired)
    cameras = _present_cameras(demo, name)
    _refuse_uneven(demo, (*_STATE_WIDTHS, _JOINTS, *cameras.values()), num_steps=len(command), name=name)
    state = [read_floats(demo, f"obs/{key}", width=width, name=name) for key, width in _STATE_WIDTHS.items()]
    return LiberoDemo(
        rows=rows,
        num_actions=len(command),
        state=np.column_stack(state)[rows],
        joints_rad=read_floats(demo, f"obs/{_JOINTS}", width=7, name=name)[rows],
        action=paired[rows],
        cameras={
            role: DatasetStream(find_dataset(demo, f"obs/{key}", name=name), rows=rows, name=name, strides=strides)
            for role, key in cameras.items()
        },
    )


def _kept_rows(command: Float64) -> Int64:
    """Return the rows of commands [T, 7] that are not no-ops.

    Source: a no-op moves less than 1e-4 and repeats the gripper command of the last kept action; before any kept
    action, a small motion is enough (OpenVLA, regenerate_libero_dataset.py).
    """
    kept: list[int] = []
    for row, action in enumerate(command):
        still = float(np.linalg.norm(action[:6])) < _NOOP_NORM
        if not (still and (not kept or action[6] == command[kept[-1], 6])):
            kept.append(row)
    return np.array(kept, np.int64)


def _present_cameras(demo: h5py.Group, name: str) -> dict[CameraRole, str]:
    """Return the cameras that have an image: a camera without key, rows or any readable row is missing."""
    return {role: key for role, key in CAMERAS.items() if _has_image(demo, f"obs/{key}", name)}


def _has_image(demo: h5py.Group, key: str, name: str) -> bool:
    try:
        found = find_dataset(demo, key, name=name)
    except EpisodeError:
        return False
    return found.ndim > 0 and any(_is_readable(found, row, name) for row in range(len(found)))


def _is_readable(images: h5py.Dataset, row: int, name: str) -> bool:
    try:
        images[row]
    except DAMAGE as error:
        raise_machine_fault(error, name)
        return False
    return True


def _refuse_uneven(demo: h5py.Group, keys: tuple[str, ...], *, num_steps: int, name: str) -> None:
    for key in keys:
        found = find_dataset(demo, f"obs/{key}", name=name)
        num_rows = len(found) if found.ndim else 0
        if num_rows != num_steps:
            raise EpisodeError(f"{name}: {found.name} has {num_rows} rows but there are {num_steps} actions")
