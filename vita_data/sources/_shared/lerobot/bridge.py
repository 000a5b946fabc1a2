"""BridgeData V2 in LeRobot form: any4lerobot's conversion, and others with the same columns.

Its actions are not used for motion: any4lerobot relabels them by subtracting Euler angles, others keep the commands. As
in the RLDS releases, motion leads to the next recorded pose, so the last row of the dataset is no row here, nor is a
first one whose action is the placeholder (any4lerobot leaves it out).

Source: any4lerobot, openx2lerobot: `bridge_orig_dataset_transform` and the layout of states, x y z roll pitch yaw,
padding, gripper.
"""

from collections.abc import Callable

import numpy as np

from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
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
from vita_data.sources._shared.lerobot.conversions import Conversions, declare
from vita_data.types import CameraRole, Float64, SourceInfo, SourceSettings

_HZ = 5.0
_STATE, _ACTION = "observation.state", "action"
_WIDTHS = {"lerobot/any4lerobot": 8, "lerobot/state_7": 7}
"""How many values a state has; the last one is the gripper, and 8 have padding before it."""
_CAMERAS = ("observation.images.image_0", "observation.images.image")
_PLACEHOLDER = 1e-6


class _Bridge(LeRobotSource):
    """Pairs each row with the next recorded pose."""

    def __init__(self, declaration: LeRobotDeclaration, *, release: str, decided: Callable[[Float64], Float64]) -> None:
        super().__init__(declaration, release=release)
        self._decided = decided

    def pair(self, columns: Table, num_rows: int, settings: SourceSettings) -> PairedRows:
        """Take the rows that have a next pose."""
        state, action = columns[_STATE], columns[_ACTION].copy()
        action[:, 6] = self._decided(action[:, 6])
        has_placeholder = num_rows > 0 and bool((np.abs(action[0, :6]) < _PLACEHOLDER).all())
        index = np.arange(int(has_placeholder), num_rows - 1)
        return PairedRows(
            index=index, state={_STATE: state[index]}, action={_STATE: state[index + 1], _ACTION: action[index]}
        )


def bridge_conversions(info: SourceInfo, *, decided: Callable[[Float64], Float64]) -> Conversions:
    """Make the conversions; `decided` makes gripper commands 0 or 1 as in the RLDS release."""
    known = [
        _Bridge(_declaration(info, width, camera), release=release, decided=decided)
        for release, width in _WIDTHS.items()
        for camera in _CAMERAS
    ]
    return Conversions(info, known)


def _declaration(info: SourceInfo, width: int, camera: str) -> LeRobotDeclaration:
    position, rotation = Position(_STATE, 0, unit_m=1.0), Rotation(_STATE, 3, RotationForm.EULER_XYZ, unit_rad=1.0)
    return declare(
        info,
        hz=_HZ,
        columns={_STATE: width, _ACTION: 7},
        cameras=[Camera(role=CameraRole.PRIMARY, key=camera, turned=Flip.NONE)],
        text_origin="human",
        right=ArmColumns(
            position=position,
            rotation=rotation,
            gripper=Gripper(_STATE, width - 1, open=1.0, closed=0.0),
            joints=None,
            action=PoseAction(
                motion=Motion.ABSOLUTE,
                frame=Frame.BASE,
                position=position,
                rotation=rotation,
                gripper=Gripper(_ACTION, 6, open=1.0, closed=0.0),
            ),
        ),
    )
