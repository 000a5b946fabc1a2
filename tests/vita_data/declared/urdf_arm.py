"""A small arm of which joints in degrees are recorded in HDF5 files; its URDF gives the poses of the tool."""

import math
from pathlib import Path

from vita_data import declared as d
from vita_data.types import ActionOrigin, TextStyle

STATE, ACTION, DEGREE = "obs/joints", "actions", math.pi / 180
SOURCE = d.Hdf5Source(d.Hdf5Declaration(
    name="small_arm", title="Small arm", embodiment="small_arm", licence="ours", redistributable=False,
    url="https://example.org", access="in house", hz=20.0, files="*.hdf5", columns={STATE: 4, ACTION: 4}, cameras=(),
    text_style=TextStyle.IMPERATIVE, text_origin="task_name", text_attribute=None,
    action_origin=ActionOrigin.COMMANDED, rows_to_action=0, lag=0,
    left=None, right=d.ArmColumns(
        position=None, rotation=None, joints=d.Joints(STATE, 0, count=3, unit_rad=DEGREE),
        gripper=d.Gripper(STATE, 3, open=100.0, closed=0.0),
        action=d.JointAction(
            motion=d.Motion.ABSOLUTE, joints=d.Joints(ACTION, 0, count=3, unit_rad=DEGREE),
            gripper=d.Gripper(ACTION, 3, open=100.0, closed=0.0),
        ),
        kinematics=d.Kinematics(
            urdf=Path(__file__).with_name("urdf_arm.urdf"), base="base", tip="tool", joints=("pan", "lift", "elbow"),
        ),
    ),
))  # fmt: skip
