"""Fractal and FMB as any4lerobot converts them from RLDS.

Source: any4lerobot, openx2lerobot: `rt1_dataset_transform`, `fmb_dataset_transform`, and the layout of states. FMB's
state is named roll, pitch, yaw, padding there, but is the quaternion of the RLDS release; its images were turned from
BGR to RGB.
"""

from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    LeRobotSource,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.sources._shared.lerobot.conversions import Conversions, declare
from vita_data.types import CameraRole, SourceInfo

_STATE, _ACTION = "observation.state", "action"
_COLUMNS = {_STATE: 8, _ACTION: 7}
_RELEASE = "lerobot/any4lerobot"


def fractal_conversions(info: SourceInfo, *, hz: float) -> Conversions:
    """Make the conversion of Fractal: steps after the end of an episode are rows, motions of the base are lost."""
    declared = declare(
        info,
        hz=hz,
        columns=_COLUMNS,
        cameras=[Camera(role=CameraRole.PRIMARY, key="observation.images.image", turned=Flip.NONE)],
        text_origin="template",
        right=_arm(gripper=Gripper(_ACTION, 6, open=1.0, closed=0.0), limit_m=None, limit_rad=None),
    )
    return Conversions(info, [LeRobotSource(declared, release=_RELEASE)])


def fmb_conversions(info: SourceInfo, *, hz: float, limit_m: float, limit_rad: float) -> Conversions:
    """Make the conversion of FMB, whose controller clips commands to the limits; joints and depth are lost."""
    declared = declare(
        info,
        hz=hz,
        columns=_COLUMNS,
        cameras=[
            Camera(role=role, key=f"observation.images.{key}", turned=Flip.NONE) for role, key in info.cameras.items()
        ],
        text_origin="template",
        right=_arm(gripper=Gripper(_ACTION, 6, open=0.0, closed=1.0), limit_m=limit_m, limit_rad=limit_rad),
    )
    return Conversions(info, [LeRobotSource(declared, release=_RELEASE)])


def _arm(*, gripper: Gripper, limit_m: float | None, limit_rad: float | None) -> ArmColumns:
    return ArmColumns(
        position=Position(_STATE, 0, unit_m=1.0),
        rotation=Rotation(_STATE, 3, RotationForm.QUAT_XYZW, unit_rad=1.0),
        gripper=Gripper(_STATE, 7, open=0.0, closed=1.0),
        joints=None,
        action=PoseAction(
            motion=Motion.DELTA,
            frame=Frame.BASE,
            position=Position(_ACTION, 0, unit_m=1.0, limit=limit_m),
            rotation=Rotation(_ACTION, 3, RotationForm.EULER_XYZ, unit_rad=1.0, limit=limit_rad),
            gripper=gripper,
        ),
    )
