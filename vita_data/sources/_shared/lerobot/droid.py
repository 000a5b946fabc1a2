"""DROID as lerobot's own script ports it (`cadene/droid_1.0.1`), with the rules of the RLDS release.

Other conversions take the unitless velocity as action and swap the two exterior cameras at random, as OpenVLA does
while it trains (`droid_baseact_transform`): they are refused.

Source: huggingface/lerobot, examples/port_datasets/port_droid.py.
"""

from collections.abc import Callable
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
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    PairedRows,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
    Table,
)
from vita_data.formats.lerobot.dataset import read_texts
from vita_data.sources._shared.lerobot.conversions import Conversions, Unusable, declare
from vita_data.types import (
    CameraRole,
    Drop,
    Episode,
    Float64,
    Instruction,
    Int64,
    Reason,
    SourceInfo,
    SourceSettings,
)

_POSE, _TARGET = "observation.state.cartesian_position", "action.cartesian_position"
_GRIPPER, _GRIPPER_TARGET = "observation.state.gripper_position", "action.gripper_position"
_JOINTS, _JOINT_TARGET = "observation.state.joint_position", "action.joint_position"
_JOINT_SPEED, _SUCCESS = "action.joint_velocity", "is_episode_successful"
_TEXTS = ("language_instruction", "language_instruction_2", "language_instruction_3")
_IMAGES = "observation.images"
_SWAPPED = (f"{_IMAGES}.exterior_image_1_left", f"{_IMAGES}.exterior_image_2_left")

KeptRows = Callable[[Float64, SourceSettings], Int64]
"""The rows to keep, by the joint velocities [T, 7] and the settings."""


class _Droid(LeRobotSource):
    """Keeps the moving rows of successful episodes."""

    text_columns = _TEXTS

    def __init__(
        self,
        declaration: LeRobotDeclaration,
        *,
        kept_rows: KeptRows,
        keeps_failures: Callable[[SourceSettings], bool],
        swaps_exterior: Callable[[str], bool],
    ) -> None:
        super().__init__(declaration, release="lerobot/port_droid")
        self._kept_rows, self._keeps_failures, self._swaps = kept_rows, keeps_failures, swaps_exterior

    def pair(self, columns: Table, num_rows: int, settings: SourceSettings) -> PairedRows:
        """Take the rows that move."""
        index = self._kept_rows(columns[_JOINT_SPEED], settings)
        kept = {key: values[index] for key, values in columns.items()}
        return PairedRows(index=index, state=kept, action=kept)

    def finish(self, episode: Episode, rows: PairedRows, table: pa.Table, settings: SourceSettings) -> Episode | Drop:
        """Drop a failure; add all texts, and choose the primary camera as for the RLDS release."""
        if not (np.all(rows.state[_SUCCESS]) or self._keeps_failures(settings)):
            return Drop(episode=episode.id, reason=Reason.UNSUCCESSFUL, detail=f"{_SUCCESS} is false")
        texts = dict.fromkeys(text for key in _TEXTS for text in read_texts(table, key, name=episode.id))
        cameras = dict(episode.cameras)
        if self._swaps(episode.id):
            primary, secondary = CameraRole.PRIMARY, CameraRole.SECONDARY
            cameras |= {primary: cameras[secondary], secondary: cameras[primary]}
        distinct = [text for text in texts if text.strip()] or [""]
        instructions = tuple(Instruction(text=text, origin="human") for text in distinct)
        return replace(episode, instructions=instructions, cameras=cameras)


def droid_conversions(
    info: SourceInfo,
    *,
    hz: float,
    kept_rows: KeptRows,
    keeps_failures: Callable[[SourceSettings], bool],
    swaps_exterior: Callable[[str], bool],
) -> Conversions:
    """Make the conversions; the functions are the rules of the RLDS release."""
    known = _Droid(
        _declaration(info, hz), kept_rows=kept_rows, keeps_failures=keeps_failures, swaps_exterior=swaps_exterior
    )
    why = (
        "this conversion of DROID has the unitless velocity as action, and its two exterior cameras were swapped at "
        "random; read the RLDS release, or a conversion with the column action.cartesian_position (lerobot's "
        "port_droid.py, such as cadene/droid_1.0.1)"
    )
    return Conversions(info, [known], unusable=[Unusable(columns={"action": 7}, cameras=_SWAPPED, why=why)])


def _declaration(info: SourceInfo, hz: float) -> LeRobotDeclaration:
    keys = {
        CameraRole.PRIMARY: "exterior_1_left",
        CameraRole.SECONDARY: "exterior_2_left",
        CameraRole.WRIST_RIGHT: "wrist_left",
    }
    angles = RotationForm.EULER_XYZ
    return declare(
        info,
        hz=hz,
        columns={
            **dict.fromkeys((_POSE, _TARGET), 6),
            **dict.fromkeys((_GRIPPER, _GRIPPER_TARGET, _SUCCESS), 1),
            **dict.fromkeys((_JOINTS, _JOINT_TARGET, _JOINT_SPEED), 7),
        },
        cameras=[Camera(role=role, key=f"{_IMAGES}.{key}", turned=Flip.NONE) for role, key in keys.items()],
        text_origin="human",
        right=ArmColumns(
            position=Position(_POSE, 0, unit_m=1.0),
            rotation=Rotation(_POSE, 3, angles, unit_rad=1.0),
            gripper=Gripper(_GRIPPER, 0, open=0.0, closed=1.0),
            joints=Joints(_JOINTS, 0, count=7, unit_rad=1.0),
            action=PoseAction(
                motion=Motion.ABSOLUTE,
                frame=Frame.BASE,
                position=Position(_TARGET, 0, unit_m=1.0),
                rotation=Rotation(_TARGET, 3, angles, unit_rad=1.0),
                gripper=Gripper(_GRIPPER_TARGET, 0, open=0.0, closed=1.0),
                joints=Joints(_JOINT_TARGET, 0, count=7, unit_rad=1.0),
            ),
        ),
    )
