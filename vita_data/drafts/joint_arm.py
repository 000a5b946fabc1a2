"""What the numbers tell about an arm whose joints are commanded and whose hand has no pose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vita_data.declared import ArmColumns, JointAction, Joints, Motion
from vita_data.drafts.contents import Column
from vita_data.drafts.draft_of_arm import ArmDraft
from vita_data.drafts.gripper import GripperReading, read_command, read_measured
from vita_data.drafts.motion import correlate, steps
from vita_data.drafts.poses import NO_POSITIONS, Span, grippers, is_tool, says_joints
from vita_data.drafts.rate import joint_unit_rad
from vita_data.slots import NUM_JOINTS
from vita_data.types import Float64

_NEAR, _SIMILAR, _MOST = 0.3, 0.5, 0.6
_AT_END, _RESTS, _CLEAR = 0.1, 0.6, 0.2
_MIN_JOINTS, _MIN_NAMED = 4, 2
"""Fewer values may be a position; those that are named joints are not."""
_TURN, _PERCENT = 1.1 * 2 * np.pi, 102.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JointReading:
    """How an action commands measured values, most of which are joints."""

    state: Span
    action: Span
    motion: Motion
    score: float
    """At most 1: the share of the values that it explains, less by how much they are off."""
    evidence: str


def draft_joint_arm(columns: Sequence[Column], *, place: str) -> ArmDraft | None:
    """Find the joints of one arm, the action that moves them, and its gripper; None without such an action.

    Args:
        columns: those that the arm may have.
        place: where the arm stands in the declaration.
    """
    states = [span for column in columns if not column.is_action for span in _measured(column)]
    readings = [
        reading
        for state in states
        for action in (each for column in columns if column.is_action for each in _commanded(column, state.width))
        if (reading := read_joints(state, action)) is not None
    ]
    if not readings:
        return None
    told = max(readings, key=lambda one: one.score)
    draft = ArmDraft(place=place, columns=tuple(columns), evidence=[told.evidence])
    draft.arm = _arm(draft, told)
    return draft


def _measured(column: Column) -> Iterator[Span]:
    if not any(word in column.key.lower() for word in NO_POSITIONS):
        yield from _joints_of(column)


def _joints_of(column: Column) -> Iterator[Span]:
    """Yield the values before the first one that is named a part of the hand; without names, all of them."""
    width = next((at for at, name in enumerate(column.names) if is_tool(name)), column.width)
    span = Span(column, 0, width)
    at_least = _MIN_NAMED if says_joints(span) else _MIN_JOINTS
    if width >= at_least and (column.is_named or width <= NUM_JOINTS + 1):
        yield span


def _commanded(column: Column, width: int) -> Iterator[Span]:
    if column.is_named:
        yield from (span for span in _joints_of(column) if span.width == width)
    else:
        yield from (Span(column, start, width) for start in range(column.width - width + 1))


def read_joints(state: Span, action: Span) -> JointReading | None:
    """Try an action's values as positions to reach and as differences; None if they are neither."""
    here, there, told = (np.concatenate(each) for each in steps(state, action))
    if not len(here) or not np.isfinite(np.concatenate([here, there, told])).all():
        return None
    moved = there - here
    moving = np.flatnonzero(np.any(moved, axis=0) & np.any(told, axis=0))
    if len(moving) < min(_MIN_JOINTS - 1, state.width):
        return None
    off = np.median(np.abs(told - there), axis=0)[moving]
    spread, size = there.std(axis=0)[moving], np.sqrt(np.mean(there**2, axis=0))[moving]  # an arm may hardly move
    similar = np.array([correlate(told[:, [at]], moved[:, [at]])[0] for at in moving])
    near, follows = off < _NEAR * size, similar > _SIMILAR
    of = f"of the {len(moving)} moving values of {action} are"
    if np.mean(near) >= _MOST:
        evidence = f"{near.sum()} {of} near the next row's {state}, at {np.median(off):.2g} (median of their distances)"
        score = float(np.mean(near)) - min(float(np.median(off / spread)), 1.0)
        return JointReading(state=state, action=action, motion=Motion.ABSOLUTE, score=score, evidence=evidence)
    if np.mean(follows) >= _MOST:
        evidence = f"{follows.sum()} {of} like the way of {state} to the next row, at {np.median(similar):.2f} (median)"
        score = float(np.mean(follows) + np.median(similar)) - 1
        return JointReading(state=state, action=action, motion=Motion.DELTA, score=score, evidence=evidence)
    return None


def _arm(draft: ArmDraft, told: JointReading) -> ArmColumns:
    count = _count(draft, told)
    state, action = Span(told.state.column, told.state.start, count), Span(told.action.column, told.action.start, count)
    draft.joints = state
    unit, evidence = joint_unit_rad(state)
    draft.evidence.append(evidence)
    _check_unit(draft, state)
    is_open = f"{draft.place}.action.gripper" in draft.untold
    command, measured = (None, None) if is_open else _grippers(draft, state, action)
    return ArmColumns(
        position=None,
        rotation=None,
        gripper=None if measured is None else draft.gripper(measured),
        joints=Joints(state.column.key, state.first, count=count, unit_rad=unit),
        action=JointAction(
            motion=told.motion,
            joints=Joints(action.column.key, action.first, count=count, unit_rad=unit),
            gripper=None if command is None else draft.gripper(command),
        ),
    )


def _count(draft: ArmDraft, told: JointReading) -> int:
    """Return how many of the values are joints: a last one without a name may be the gripper."""
    width, action = told.state.width, told.action
    if told.state.column.is_named or action.column.is_named:
        if width > NUM_JOINTS:
            for place in ("joints.start", "action.joints.start"):
                draft.leave_open(place, f"which {NUM_JOINTS} of the {width} values are the arm's joints")
        return min(width, NUM_JOINTS)
    if width < _MIN_JOINTS:
        return width
    rests = _rests(action)
    others = float(max(rests[:-1]))
    last = Span(action.column, action.start + width - 1, 1)
    evidence = f"{last} is at its ends in {100 * rests[-1]:.0f}% of the rows, the others in at most {100 * others:.0f}%"
    if rests[-1] > _RESTS and rests[-1] - others > _CLEAR:
        draft.evidence.append(f"{evidence}: it is the gripper")
    elif width <= _MIN_JOINTS + 1:
        return width
    elif width > NUM_JOINTS:
        draft.evidence.append(f"{evidence}; it is taken as the gripper, since an arm has at most {NUM_JOINTS} joints")
    else:
        what = f"a Gripper(...) of the last value, or None if that is a joint too (then count={width}): {evidence}"
        draft.leave_open("gripper", what)
        draft.leave_open("action.gripper", what)
    return width - 1


def _rests(span: Span) -> Float64:
    """Return in which share of the rows each value is near one of its ends."""
    values = np.concatenate(span.values())
    low, high = values.min(axis=0), values.max(axis=0)
    near = _AT_END * (high - low)
    return np.asarray(np.mean((values <= low + near) | (values >= high - near), axis=0))


def _check_unit(draft: ArmDraft, state: Span) -> None:
    largest = max(float(np.abs(values).max(initial=0.0)) for values in state.values())
    if _TURN < largest <= _PERCENT:
        for place in ("joints.unit_rad", "action.joints.unit_rad"):
            draft.leave_open(
                place,
                f"{state} reach {largest:.3g}: degrees are {np.pi / 180:.6g}; LeRobot's -100 to 100, a share of each "
                "joint's range, is no angle and must be converted first",
            )


def _grippers(draft: ArmDraft, state: Span, action: Span) -> tuple[GripperReading | None, GripperReading | None]:
    commands = [span for span in grippers(draft.columns, action) if span.width == 1]
    told = next(filter(None, map(read_command, commands)), None)
    if told is None:
        spare = [part for part in draft.columns if part.is_action and part is not action.column and part.names]
        if spare or commands:
            names = ", ".join(f"{Span(part, 0, part.width)}, {', '.join(part.names)}" for part in spare)
            draft.leave_open("action.gripper", f"a Gripper(...) of {names or commands[0]}; or None")
        return None, None
    draft.evidence.append(told.evidence)
    measured = next(filter(None, (read_measured(span, told) for span in grippers(draft.columns, state))), None)
    # an arm that is led by hand often starts with its gripper closed, so the first rows do not tell the sign
    told = replace(told, is_told=False)
    if measured is not None:
        draft.evidence.append(measured.evidence)
    draft.leave_gripper_open(told, measured)
    return told, measured
