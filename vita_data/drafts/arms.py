"""Finds the arms of a dataset: one or two, with a pose of the hand or with joints alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vita_data.declared import Motion, RotationForm
from vita_data.drafts.arm import draft_arm
from vita_data.drafts.contents import Column
from vita_data.drafts.draft_of_arm import ArmDraft
from vita_data.drafts.joint_arm import draft_joint_arm
from vita_data.drafts.sides import LEFT, RIGHT, Sides, halves, named_sides

_WRITTEN_OUT = (RotationForm.QUAT_XYZW, RotationForm.QUAT_WXYZ, RotationForm.ROT6D)
"""Forms whose numbers are like no joints."""


@dataclass(kw_only=True)
class ArmsDraft:
    """The arms that were found."""

    left: ArmDraft | None = None
    right: ArmDraft | None = None
    """Both as the draft is tried on the tree."""
    choices: tuple[ArmDraft, ...] = ()
    """Arms between which the data does not choose: the author puts their names in place of `left` and `right`."""
    untold: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> list[ArmDraft]:
        """All drafts, to be written down."""
        return list(self.choices) or [arm for arm in (self.left, self.right) if arm is not None]


def draft_arms(columns: Sequence[Column]) -> ArmsDraft:
    """Find the arms: by sides that are named, then one arm, then two in the halves of columns without names."""
    if (named := named_sides(columns)) is not None and (both := _both(named)) is not None:
        return both
    one, split = _readings(columns, RIGHT), halves(columns)
    both = None if split is None else _both(split)
    if both is not None and not any(map(_is_clear, one)):
        return _with_pose(both, columns) if one else both
    if len(one) == 1:
        return ArmsDraft(right=one[0])
    if one:
        return ArmsDraft(right=one[0], choices=tuple(one), untold={RIGHT: _either(one)})
    listed = ", ".join(f"{column.key} [{column.width}]" for column in columns)
    what = "found no position and rotation of a hand, and no joints, that an action moves; columns: "
    return ArmsDraft(untold={RIGHT: what + listed})


def _readings(columns: Sequence[Column], place: str) -> list[ArmDraft]:
    """Draft an arm: two drafts, with names of their own, where its values may be joints or a pose."""
    pose, joints = draft_arm(columns, place=place), draft_joint_arm(columns, place=place)
    if pose is None or joints is None or _is_clear(pose):
        return [one for one in (pose, joints) if one is not None][:1]
    names = (f"{place}_{kind}".upper() for kind in ("joints", "pose"))
    return list(map(_renamed, (joints, pose), names))


def _renamed(draft: ArmDraft, place: str) -> ArmDraft:
    untold = {f"{place}{path.removeprefix(draft.place)}": what for path, what in draft.untold.items()}
    return replace(draft, place=place, untold=untold)


def _both(sides: Sides) -> ArmsDraft | None:
    """Draft the arms of both sides; None if nothing moves one of them."""
    found = {place: _readings(parts, place) for place, parts in sides.items()}
    if not all(found.values()):
        return None
    (left, *_), (right, *_) = found.values()
    drafts = [draft for each in found.values() for draft in each]
    if list(found) == [LEFT, RIGHT]:
        if len(drafts) == len(found):
            return ArmsDraft(left=left, right=right)
        drafts = [_renamed(draft, draft.place.upper()) for draft in drafts]
        untold = {place: _either(each) if len(each) > 1 else place.upper() for place, each in found.items()}
    else:
        what = "the data does not tell which arm is the left one (ALOHA: the first)"
        untold = dict.fromkeys((LEFT, RIGHT), f"{', '.join(draft.place for draft in drafts)}: {what}")
    return ArmsDraft(left=left, right=right, choices=tuple(drafts), untold=untold)


def _with_pose(both: ArmsDraft, columns: Sequence[Column]) -> ArmsDraft:
    """Also offer to read the columns as the pose of one arm."""
    pose = draft_arm(columns, place="POSE")
    if pose is None:
        return both
    untold = {place: f"{what}; if all are of one hand, right=POSE and left=None" for place, what in both.untold.items()}
    return replace(both, choices=(*both.choices, pose), untold=untold)


def _either(drafts: Sequence[ArmDraft]) -> str:
    names = " or ".join(draft.place for draft in drafts)
    return f"{names}: the values have no names, and as joints or as a pose they lead to the next row alike"


def _is_clear(draft: ArmDraft) -> bool:
    """Whether the numbers are nothing else: a position and three angles may be joints as well."""
    arm = draft.arm
    if arm is None or arm.rotation is None:
        return arm is not None
    ends = {name.replace(".", "_").split("_")[-1] for column in draft.columns for name in column.names}
    return "z" in ends or arm.rotation.form in _WRITTEN_OUT or arm.action.motion is not Motion.ABSOLUTE
