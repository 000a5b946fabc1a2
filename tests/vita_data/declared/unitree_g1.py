"""Two arms of which only joints are known: a Unitree G1 with Inspire hands, recorded with LeRobot."""

from vita_data import declared as d
from vita_data.action_convention import Flip
from vita_data.types import ActionOrigin, CameraRole, TextStyle

STATE, ACTION = "observation.state", "action"


def arm(joint: int, finger: int) -> d.ArmColumns:
    """Declare seven joints in radians, and the hand by its middle finger (1 = stretched)."""
    target, hand = d.Joints(ACTION, joint, count=7, unit_rad=1.0), d.Gripper(ACTION, finger, open=1.0, closed=0.0)
    return d.ArmColumns(
        position=None, rotation=None, joints=d.Joints(STATE, joint, count=7, unit_rad=1.0),
        gripper=d.Gripper(STATE, finger, open=1.0, closed=0.0),
        action=d.JointAction(motion=d.Motion.ABSOLUTE, joints=target, gripper=hand),
    )  # fmt: skip


SOURCE = d.LeRobotSource(d.LeRobotDeclaration(
    name="unitree_g1", title="Unitree G1", embodiment="unitree_g1", licence="MIT", redistributable=True,
    url="https://huggingface.co/docs/lerobot", access="open", hz=30.0, labelled_fps=30.0,
    columns={STATE: 26, ACTION: 26}, left=arm(0, 16), right=arm(7, 22), rows_to_action=0, lag=0,
    cameras=(d.Camera(role=CameraRole.PRIMARY, key="observation.images.cam_high", turned=Flip.NONE),),
    text_style=TextStyle.IMPERATIVE, text_origin="human", text_column=None, action_origin=ActionOrigin.COMMANDED,
))  # fmt: skip
