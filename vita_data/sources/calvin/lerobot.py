"""CALVIN in LeRobot form with absolute actions (`Traly/calvin_abc_d-lerobot`): the windows of the training folder.

Conversions at 10 fps (`fywang/calvin-task-*`) are refused: the recordings have 30 Hz.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    Joints,
    LeRobotSource,
    Motion,
    PairedRows,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
    Table,
)
from vita_data.sources._shared.lerobot.conversions import Conversions, Unusable, declare
from vita_data.types import CameraRole, Episode, Json, SourceInfo, SourceSettings, Split

_STATE, _ACTION = "observation.state", "action.absolute"
_WIDTH_OPEN_M = 0.08
_CAMERAS = {CameraRole.PRIMARY: "observation.images.top", CameraRole.WRIST_RIGHT: "observation.images.wrist"}
_OTHER = "*/*/ep_start_end_ids.npy"


class _Calvin(LeRobotSource):
    """Adds what the simulator's convention is, and the joints of the next row."""

    def __init__(self, info: SourceInfo, *, hz: float, convention: Json) -> None:
        declared = declare(
            info,
            hz=hz,
            columns={_STATE: 15, _ACTION: 7},
            cameras=[Camera(role=role, key=key, turned=Flip.NONE) for role, key in _CAMERAS.items()],
            text_origin="auto",
            right=_ARM,
        )
        super().__init__(declared, release="lerobot/absolute")
        self._convention = convention

    def pair(self, columns: Table, num_rows: int, settings: SourceSettings) -> PairedRows:
        """Take all rows; the joint target of a row is the next row's joints, of the last row its own."""
        following = np.minimum(np.arange(1, num_rows + 1), num_rows - 1)
        action: Mapping[str, np.ndarray] = {_STATE: columns[_STATE][following], _ACTION: columns[_ACTION]}
        return PairedRows(index=np.arange(num_rows), state=columns, action=action)

    def finish(self, episode: Episode, rows: PairedRows, table: pa.Table, settings: SourceSettings) -> Episode:
        """Say that the window is one of the training folder."""
        return replace(episode, split=Split.TRAIN, extras=self._convention)


_ARM = ArmColumns(
    position=Position(_STATE, 0, unit_m=1.0),
    rotation=Rotation(_STATE, 3, RotationForm.EULER_XYZ, unit_rad=1.0),
    gripper=Gripper(_STATE, 6, open=_WIDTH_OPEN_M, closed=0.0),
    joints=Joints(_STATE, 7, count=7, unit_rad=1.0),
    action=PoseAction(
        motion=Motion.ABSOLUTE,
        frame=Frame.BASE,
        position=Position(_ACTION, 0, unit_m=1.0),
        rotation=Rotation(_ACTION, 3, RotationForm.EULER_XYZ, unit_rad=1.0),
        gripper=Gripper(_ACTION, 6, open=1.0, closed=-1.0),
        joints=Joints(_STATE, 7, count=7, unit_rad=1.0),
    ),
)


def calvin_conversions(info: SourceInfo, *, hz: float, convention: Json) -> Conversions:
    """Make the conversions; `convention` are the constants of the simulator."""
    why = (
        f"this conversion of CALVIN is labelled 10 fps, but the recordings have {hz:g} Hz; read the owner's files, or "
        f"a conversion at {hz:g} fps with the column {_ACTION}"
    )
    unusable = Unusable(columns={}, cameras=(), fps=10.0, why=why)
    known = _Calvin(info, hz=hz, convention=convention)
    return Conversions(info, [known], unusable=[unusable], other=_OTHER)
