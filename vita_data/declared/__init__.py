"""Sources made from a declaration: a typed value that says what the columns of a dataset in a common format mean.

A declaration comes in, a source comes out; nothing about the meaning of a column is guessed.
"""

from vita_data.declared.arm import Table
from vita_data.declared.declaration import (
    ArmColumns,
    Camera,
    Declaration,
    Frame,
    Gripper,
    Hdf5Declaration,
    JointAction,
    Joints,
    LeRobotDeclaration,
    Motion,
    PoseAction,
    Position,
    RldsDeclaration,
    Rotation,
    RotationForm,
)
from vita_data.declared.hdf5 import Hdf5Source
from vita_data.declared.kinematics import Kinematics
from vita_data.declared.lerobot import LeRobotSource
from vita_data.declared.rlds import RldsSource
from vita_data.declared.rows import PairedRows

__all__ = [
    "ArmColumns",
    "Camera",
    "Declaration",
    "Frame",
    "Gripper",
    "Hdf5Declaration",
    "Hdf5Source",
    "JointAction",
    "Joints",
    "Kinematics",
    "LeRobotDeclaration",
    "LeRobotSource",
    "Motion",
    "PairedRows",
    "PoseAction",
    "Position",
    "RldsDeclaration",
    "RldsSource",
    "Rotation",
    "RotationForm",
    "Table",
]
