"""What the numbers tell about an action: absolute or delta, in which frame and unit, and how rotations are written.

Each reading is tried; the one that explains the hand's motion to the next row best is taken if it is clearly better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.declared import Frame, Motion, RotationForm
from vita_data.drafts.poses import Span
from vita_data.geometry import (
    axis_angle_from_matrix,
    euler_xyz_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler_xyz,
    matrix_from_quat_xyzw,
    matrix_from_rot6d,
    rotation_delta,
    wrap_angle,
)
from vita_data.types import Float64

_NEAR, _SIMILAR, _CLEAR, _EXACT = 0.1, 0.5, 0.05, 1e-3
_UNIT = 0.1
"""A slope this near to 1 is 1."""
_MATRIX: dict[RotationForm, Callable[[Float64], Float64]] = {
    RotationForm.AXIS_ANGLE: matrix_from_axis_angle,
    RotationForm.EULER_XYZ: matrix_from_euler_xyz,
    RotationForm.QUAT_XYZW: matrix_from_quat_xyzw,
    RotationForm.QUAT_WXYZ: lambda values: matrix_from_quat_xyzw(np.roll(values, -1, axis=1)),
    RotationForm.ROT6D: matrix_from_rot6d,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionReading:
    """One way to read an action's position, and how well it explains the motion."""

    state: Span
    action: Span
    motion: Motion
    unit_m: float
    score: float
    """From 0 to 1."""
    evidence: str


def read_motion(state: Span, action: Span, of_state: Sequence[tuple[RotationForm, Span]]) -> MotionReading | None:
    """Try an action's three values as poses to reach and as displacements; None if they are neither.

    Args:
        state: the hand's position.
        action: the three values.
        of_state: forms that the hand's rotation may have, for displacements along the hand's axes.
    """
    here, there, told = (np.concatenate(part) for part in steps(state, action))
    if not len(here) or not np.isfinite(np.concatenate([here, there, told])).all():
        return None
    spread = float(np.linalg.norm(here.std(axis=0)))
    moved = there - here
    if spread <= 0 or not np.any(moved) or not np.any(told):
        return None
    off = float(np.median(np.linalg.norm(told - there, axis=1)))
    if off < _NEAR * spread:
        evidence = f"{action} is {1000 * off:.2g} mm (median) from the next row's {state}, which spreads {spread:.2g} m"
        return MotionReading(
            state=state, action=action, motion=Motion.ABSOLUTE, unit_m=1.0, score=1 - off / spread, evidence=evidence
        )
    frames = [moved, *(_in_hand(moved, *each, action) for each in of_state)]
    correlation, slope = max(correlate(told, each) for each in frames)
    if correlation < _SIMILAR:
        return None
    unit_m = 1.0 if abs(slope - 1) < _UNIT else slope
    evidence = (
        f"{action} and the motion of {state} to the next row correlate at {correlation:.2f}, {slope:.3g} m per unit"
    )
    return MotionReading(
        state=state, action=action, motion=Motion.DELTA, unit_m=unit_m, score=correlation, evidence=evidence
    )


def _in_hand(moved: Float64, form: RotationForm, seen: Span, action: Span) -> Float64:
    here = np.concatenate(steps(seen, action)[0])
    return np.asarray(np.einsum("tji,tj->ti", _MATRIX[form](here), moved))


def steps(state: Span, action: Span) -> tuple[list[Float64], list[Float64], list[Float64]]:
    """Return the state here and in the next row, and the action, of each episode's rows with a next one."""
    pairs = list(zip(state.values(), action.values(), strict=True))
    rows = [min(len(seen), len(told)) - 1 for seen, told in pairs]
    return (
        [seen[:num] for (seen, _), num in zip(pairs, rows, strict=True)],
        [seen[1 : num + 1] for (seen, _), num in zip(pairs, rows, strict=True)],
        [told[:num] for (_, told), num in zip(pairs, rows, strict=True)],
    )


def correlate(told: Float64, made: Float64) -> tuple[float, float]:
    """Return the correlation of [n, k] and [n, k] through zero, and the slope of the second on the first."""
    power, product = float(np.sum(told**2)), float(np.sum(told * made))
    size = np.sqrt(power * float(np.sum(made**2)))
    return (product / size if size else 0.0), (product / power if power else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationReading:
    """How rotations are written in state and action."""

    state: tuple[RotationForm, Span]
    action: tuple[RotationForm, Span]
    motion: Motion
    frame: Frame
    unit_rad: float
    is_told: bool
    """Whether the data tells it from other readings."""
    evidence: str


def read_rotation(
    reading: MotionReading,
    of_state: Sequence[tuple[RotationForm, Span]],
    of_action: Sequence[tuple[RotationForm, Span]],
) -> RotationReading | None:
    """Choose the forms by which the action's rotation explains the hand's best; None if there is no rotation."""
    if not of_state or not of_action:
        return None
    if reading.motion is Motion.ABSOLUTE:
        return _absolute(of_state, of_action)
    tried = [found for form, seen in of_state for found in _deltas(reading, (form, seen), _three(of_action))]
    tried.sort(key=lambda each: -each[0])
    (score, best), others = tried[0], [one for one in tried[1:] if one[1].state != tried[0][1].state]
    runner_up = max((one for one, _ in others), default=0.0)
    is_told = score > _SIMILAR and score - runner_up > _CLEAR
    what = f"as {best.state[0]}, the state's rotation follows the action at {score:.2f}"
    more = f", next best {runner_up:.2f}" if others else ""
    return RotationReading(
        state=best.state, action=best.action, motion=best.motion, frame=best.frame, unit_rad=best.unit_rad,
        is_told=is_told, evidence=f"{what} ({best.frame} frame{more})",
    )  # fmt: skip


def _three(of_action: Sequence[tuple[RotationForm, Span]]) -> Span:
    """Return the three values of an action's angles; with a gripper of +-1 they may look like a quaternion."""
    span = of_action[0][1]
    return Span(span.column, span.start, 3)


def _absolute(
    of_state: Sequence[tuple[RotationForm, Span]], of_action: Sequence[tuple[RotationForm, Span]]
) -> RotationReading:
    """Choose the only form that is possible; nothing in poses alone tells several possible ones apart."""
    both = [(seen, told) for seen in of_state for told in of_action if seen[0] is told[0]]
    seen, told = both[0] if both else (of_state[0], of_action[0])
    forms = list(dict.fromkeys(form for form, _ in of_state))
    return RotationReading(
        state=seen, action=told, motion=Motion.ABSOLUTE, frame=Frame.BASE, unit_rad=1.0,
        is_told=len(forms) == 1,
        evidence=f"possible for {seen[1]}: {', '.join(forms)}",
    )  # fmt: skip


def _deltas(
    reading: MotionReading, of_state: tuple[RotationForm, Span], told: Span
) -> list[tuple[float, RotationReading]]:
    form, seen = of_state
    here, there, rows = (np.concatenate(part) for part in steps(seen, told))
    xyz, after, moved_told = (np.concatenate(part) for part in steps(reading.state, reading.action))
    before, now = _MATRIX[form](here), _MATRIX[form](there)
    turn = rotation_delta(before, now)
    back = np.swapaxes(before, -1, -2)
    in_hand = axis_angle_from_matrix(back @ turn @ before)
    moved_in_hand = np.einsum("tij,tj->ti", back, after - xyz)
    angles = wrap_angle(euler_xyz_from_matrix(now) - euler_xyz_from_matrix(before))
    tries = [
        (Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE, axis_angle_from_matrix(turn), after - xyz),
        (Motion.DELTA, Frame.BASE, RotationForm.EULER_XYZ, euler_xyz_from_matrix(turn), after - xyz),
        (Motion.DELTA, Frame.HAND, RotationForm.AXIS_ANGLE, in_hand, moved_in_hand),
    ]
    if form is RotationForm.EULER_XYZ:
        tries.append((Motion.EULER_DIFFERENCE, Frame.BASE, RotationForm.EULER_XYZ, angles, after - xyz))
    found = []
    for motion, frame, written, made, moved in tries:
        by_turn, unit = correlate(rows, made)
        by_move, _ = correlate(moved_told, moved)
        unit = 1.0 if abs(unit - 1) < _UNIT else unit
        read = RotationReading(
            state=of_state, action=(written, told), motion=motion, frame=frame, unit_rad=unit or 1.0, is_told=True,
            evidence="",
        )  # fmt: skip
        found.append(((by_turn + by_move) / 2, read))
    return found
