"""What all declared sources share: pairing rows with actions, making episodes, and stating facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.declared.arm import Table, read_arm
from vita_data.declared.camera import DeclaredCamera
from vita_data.declared.declaration import ArmColumns, Camera, Declaration, JointAction
from vita_data.errors import EpisodeError
from vita_data.types import (
    CameraStream,
    Clip,
    Drop,
    Episode,
    Instruction,
    Int64,
    Json,
    Modality,
    Reason,
    SourceInfo,
    Split,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRows:
    """The rows of an episode that are kept: what was observed in each, and the action issued on it."""

    index: Int64
    """[T] their numbers in the episode."""
    state: Table
    action: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a format tells about an episode, beside its columns."""

    id: str
    release: str
    split: Split | None
    hz: float
    texts: Sequence[str]
    cameras: Mapping[Camera, CameraStream]
    provenance: Json


def pair_rows(columns: Table, num_rows: int, *, rows_to_action: int) -> PairedRows:
    """Pair the observation of each row with the action `rows_to_action` rows later.

    Args:
        columns: the used columns, all rows.
        num_rows: the number of rows, also if no column is used.
        rows_to_action: 0 or more; as many rows at the end have no action.
    """
    num_kept = max(num_rows - rows_to_action, 0)
    state = {key: values[:num_kept] for key, values in columns.items()}
    action = {key: values[rows_to_action:] for key, values in columns.items()}
    return PairedRows(index=np.arange(num_kept), state=state, action=action)


def require_rows(columns: Table, cameras: Mapping[Camera, CameraStream], *, name: str) -> int:
    """Return the number of rows, which all columns and cameras of an episode must have.

    Raises:
        EpisodeError: they differ.
    """
    counts = {key: len(values) for key, values in columns.items()}
    counts |= {camera.key: stream.num_frames for camera, stream in cameras.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{key} {count}" for key, count in counts.items())
        raise EpisodeError(f"{name}: its columns and cameras differ in rows ({found}); fetch the file again")
    return next(iter(counts.values()), 0)


def rows_of_clip(rows: PairedRows, clip: Clip, *, name: str) -> Table:
    """Take the actions of a clip's rows from those of its episode.

    Raises:
        EpisodeError: the episode has not all of them.
    """
    if missing := set(clip.step_index.tolist()) - set(rows.index.tolist()):
        raise EpisodeError(f"{name}: expected a row {max(missing)}, got none; is it the same download?")
    places = np.searchsorted(rows.index, clip.step_index)
    return {key: values[places] for key, values in rows.action.items()}


def make_episode(declared: Declaration, recorded: Recorded, rows: PairedRows) -> Episode | Drop:
    """Make the episode of the kept rows; without any, it is dropped as too short.

    Raises:
        EpisodeError: numbers are not a rotation.
    """
    if not len(rows.index):
        return Drop(episode=recorded.id, reason=Reason.SHORT, detail="no row has an action")
    left, right = (
        None if arm is None else read_arm(arm, rows.state, rows.action, name=recorded.id)
        for arm in (declared.left, declared.right)
    )
    return Episode(
        id=recorded.id,
        source=declared.name,
        release=recorded.release,
        split=recorded.split,
        embodiment=declared.embodiment,
        arms=declared.arms,
        hz=recorded.hz,
        step_index=rows.index,
        instructions=tuple(Instruction(text=text, origin=declared.text_origin) for text in recorded.texts),
        cameras={
            camera.role: DeclaredCamera(camera=stream, rows=rows.index, turned=camera.turned)
            for camera, stream in recorded.cameras.items()
        },
        left=left,
        right=right,
        action_origin=declared.action_origin,
        provenance=recorded.provenance,
    )


def source_info(declared: Declaration, *, raw_layout: str) -> SourceInfo:
    """State the facts of a declared source."""
    arms = [arm for arm in (declared.left, declared.right) if arm is not None]
    spaces = dict.fromkeys(_action_space(arm) for arm in arms)
    computed = [arm.kinematics for arm in arms if arm.kinematics is not None]
    return SourceInfo(
        name=declared.name,
        title=declared.title,
        embodiment=declared.embodiment,
        arms=declared.arms,
        modality=Modality.PAIRED if arms else Modality.VIDEO,
        hz=declared.hz,
        cameras={camera.role: camera.key for camera in declared.cameras},
        action_origin=declared.action_origin,
        action_space=" and ".join(spaces) or "none",
        text_style=declared.text_style,
        licence=declared.licence,
        redistributable=declared.redistributable,
        access=declared.access,
        url=declared.url,
        raw_layout=raw_layout,
        max_step_m=declared.max_step_m,
        max_step_rad=declared.max_step_rad,
        action_lag=declared.lag,
        notes=(*declared.notes, *(kinematics.note for kinematics in computed)),
        file_sums=tuple(kinematics.chain.sha256 for kinematics in computed),
    )


def _action_space(arm: ArmColumns) -> str:
    action = arm.action
    if isinstance(action, JointAction):
        by_urdf = "" if arm.kinematics is None else ", and the hand's motion by a URDF"
        return f"{action.motion} joint positions{by_urdf}"
    return f"{action.motion} in the {action.frame} frame"
