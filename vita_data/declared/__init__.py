"""Sources made from a declaration: a typed value that says what the columns of a dataset in a common format mean.

A declaration comes in, a source comes out; nothing about the meaning of a column is guessed.
"""

from vita_data.declared.arm import Table
from vita_data.declared.declaration import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    JointAction,
    Joints,
    LeRobotDeclaration,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.declared.lerobot import LeRobotSource, PairedRows

__all__ = [
    "ArmColumns",
    "Camera",
    "Frame",
    "Gripper",
    "JointAction",
    "Joints",
    "LeRobotDeclaration",
    "LeRobotSource",
    "Motion",
    "PairedRows",
    "PoseAction",
    "Position",
    "Rotation",
    "RotationForm",
    "Table",
]
