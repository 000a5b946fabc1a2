"""Tells the author of a draft how an arm of which only joints are known gets poses: by the robot's URDF file."""

from collections.abc import Sequence

from vita_data.declared import JointAction
from vita_data.drafts.draft_of_arm import ArmDraft

_HINT = """\
# The data has no pose of the hand ({places}). The robot's URDF file gives it from the joints: install the extra `urdf`,
# put the file beside this one, fill in what follows, and add it to the ArmColumns (vita_data/sources/README.md):
# from pathlib import Path
# from vita_data.declared import Kinematics
{arms}
"""
_ARM = """\
# {place}:
#     kinematics=Kinematics(
#         urdf=Path(__file__).with_name("TODO.urdf"), base="TODO", tip="TODO",  # links of the URDF
#         joints=({names}),  # the URDF's names, in the order of the declared values
#     ),
"""


def urdf_hint(arms: Sequence[ArmDraft]) -> str:
    """Write commented code for each arm whose joints are known and whose hand has no pose; empty without one."""
    counts = {
        draft.place: draft.arm.joints.count
        for draft in arms
        if draft.arm is not None and draft.arm.joints is not None and isinstance(draft.arm.action, JointAction)
    }
    if not counts:
        return ""
    filled = (_ARM.format(place=place, names=", ".join(['"TODO"'] * count)) for place, count in counts.items())
    return _HINT.format(places=", ".join(counts), arms="".join(filled))
