"""Puts the readings of a tree's numbers together into the declaration of an arm whose hand has a pose."""

from collections.abc import Sequence

from vita_data.declared import (
    ArmColumns,
    Frame,
    Gripper,
    Joints,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.drafts.contents import Column
from vita_data.drafts.draft_of_arm import ArmDraft
from vita_data.drafts.gripper import GripperReading, read_command, read_measured
from vita_data.drafts.motion import MotionReading, RotationReading, read_motion, read_rotation
from vita_data.drafts.poses import Span, grippers, joints, positions, rotations
from vita_data.drafts.rate import joint_unit_rad

_ANGLES = (RotationForm.AXIS_ANGLE, RotationForm.EULER_XYZ)
_SLOW = 0.9


def draft_arm(columns: Sequence[Column], *, place: str) -> ArmDraft | None:
    """Find a hand's pose, the action that moves it, its gripper and joints; None without such a pose.

    Args:
        columns: those that the arm may have.
        place: where the arm stands in the declaration.
    """
    draft = ArmDraft(place=place, columns=tuple(columns), joints=joints(columns))
    states = [column for column in columns if not column.is_action]
    actions = [column for column in columns if column.is_action]
    readings = [
        (moved, turned)
        for state in positions(states)
        for action in positions(actions)
        if (moved := read_motion(state, action, list(rotations(state, states)))) is not None
        and (turned := read_rotation(moved, list(rotations(state, states)), _action_forms(action, actions)))
    ]
    if not readings:
        return None
    moved, turned = max(readings, key=lambda pair: pair[0].score)
    draft.evidence += [moved.evidence, turned.evidence]
    draft.arm = _arm(draft, moved, turned, columns)
    return draft


def _action_forms(action: Span, actions: Sequence[Column]) -> list[tuple[RotationForm, Span]]:
    found = list(rotations(action, actions))
    if not found and action.column.width >= action.start + 6:
        # normalized angles may be larger than any angle
        found = [(RotationForm.AXIS_ANGLE, Span(action.column, action.start + 3, 3))]
    return found


def _arm(draft: ArmDraft, moved: MotionReading, turned: RotationReading, columns: Sequence[Column]) -> ArmColumns:
    state, action = turned.state, turned.action
    if not turned.is_told:
        draft.leave_open("rotation.form", f"the form of the state's rotation: {turned.evidence}")
        if moved.motion is Motion.ABSOLUTE:
            draft.leave_open("action.rotation.form", "the form of the action's rotation, which is the state's")
    if moved.motion is not Motion.ABSOLUTE and moved.unit_m != 1.0 and moved.score < _SLOW:
        draft.leave_open(
            "action.position.unit_m",
            f"metres commanded by 1.0: the hand moves {moved.unit_m:.3g} m, but a controller may reach only a part",
        )
        draft.leave_open("action.rotation.unit_rad", f"radians commanded by 1.0: the hand turns {turned.unit_rad:.3g}")
    command, measured = _grippers(draft, columns, turned)
    angle = turned.unit_rad if action[0] in _ANGLES else 1.0
    motion = moved.motion if moved.motion is Motion.ABSOLUTE else turned.motion
    return ArmColumns(
        position=Position(moved.state.column.key, moved.state.first, unit_m=1.0),
        rotation=Rotation(state[1].column.key, state[1].first, state[0], unit_rad=1.0),
        gripper=None if measured is None else draft.gripper(measured),
        joints=_joints(draft),
        action=PoseAction(
            motion=motion,
            frame=Frame.BASE if motion is Motion.ABSOLUTE else turned.frame,
            position=Position(moved.action.column.key, moved.action.first, unit_m=moved.unit_m),
            rotation=Rotation(action[1].column.key, action[1].first, action[0], unit_rad=angle),
            gripper=command,
        ),
    )


def _grippers(
    draft: ArmDraft, columns: Sequence[Column], turned: RotationReading
) -> tuple[Gripper, GripperReading | None]:
    told = next(filter(None, map(read_command, grippers(columns, turned.action[1]))), None)
    if told is None:
        draft.leave_open("action.gripper", "the gripper's command: no value of an action that changes was found")
        return Gripper(turned.action[1].column.key, 0, open=1.0, closed=0.0), None
    draft.evidence.append(told.evidence)
    measured = next(filter(None, (read_measured(span, told) for span in grippers(columns, turned.state[1]))), None)
    if measured is not None:
        draft.evidence.append(measured.evidence)
    draft.leave_gripper_open(told, measured)
    return draft.gripper(told), measured


def _joints(draft: ArmDraft) -> Joints | None:
    if draft.joints is None:
        return None
    unit, evidence = joint_unit_rad(draft.joints)
    draft.evidence.append(evidence)
    return Joints(draft.joints.column.key, draft.joints.first, count=draft.joints.width, unit_rad=unit)
