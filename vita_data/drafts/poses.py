"""Where positions, rotations and grippers may be among the values of a column: by names, and by possible numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.declared import RotationForm
from vita_data.drafts.contents import Column
from vita_data.types import Float64

_NORM = 1e-2
_WIDTHS = {RotationForm.QUAT_XYZW: 4, RotationForm.QUAT_WXYZ: 4, RotationForm.ROT6D: 6}
_ROTATION_WORDS = ("quat", "rot", "ori", "euler", "rpy", "axis")
_GRIPPER_WORDS = ("grip", "finger")
_JOINT_WORDS = ("joint", "shoulder", "elbow", "wrist", "waist")
NO_POSITIONS = ("vel", "effort", "torque", "current", "force")
"""Words of what is measured beside positions."""
_X, _Y, _Z = "x", "y", "z"


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive values of a column."""

    column: Column
    start: int
    width: int

    def values(self) -> list[Float64]:
        """Return the values of each episode [T, width]."""
        return [episode[:, self.start : self.start + self.width] for episode in self.column.episodes]

    @property
    def first(self) -> int:
        """Where it begins in the dataset's column."""
        return self.column.first + self.start

    def __str__(self) -> str:
        last = self.first + self.width - 1
        which = f"value {self.first}" if self.width == 1 else f"values {self.first} to {last}"
        return f"{self.column.key} ({which})"


def positions(columns: Sequence[Column]) -> Iterator[Span]:
    """Yield where x, y, z may be: named so, in a column of its own, or at the start of a longer one."""
    for column in columns:
        named = [
            start
            for start in range(len(column.names) - 2)
            if [_axis(name) for name in column.names[start : start + 3]] == [_X, _Y, _Z]
        ]
        is_own = column.width == 3 and not _has(column, _ROTATION_WORDS)
        is_long = column.width >= 6 and not _is_joints(column) and not _names_joints(column)
        starts = named[:1] or ([0] if is_own or is_long else [])
        yield from (Span(column, start, 3) for start in starts)


def _axis(name: str) -> str:
    return name.replace(".", "_").split("_")[-1]


def rotations(position: Span, columns: Sequence[Column]) -> Iterator[tuple[RotationForm, Span]]:
    """Yield the forms that a rotation may have: after the position, or in a column of its own beside it."""
    column, start = position.column, position.start + 3
    yield from _forms(column, start)
    if column.width > 3:
        return
    folder = column.key.rpartition("/")[0]
    for other in columns:
        if other is not column and other.key.rpartition("/")[0] == folder and _has(other, _ROTATION_WORDS):
            yield from _forms(other, 0)


def _forms(column: Column, start: int) -> Iterator[tuple[RotationForm, Span]]:
    left = column.width - start
    if left >= 4 and _is_unit(Span(column, start, 4)):
        yield RotationForm.QUAT_XYZW, Span(column, start, 4)
        yield RotationForm.QUAT_WXYZ, Span(column, start, 4)
        return
    if left >= 6 and _is_rot6d(Span(column, start, 6)):
        yield RotationForm.ROT6D, Span(column, start, 6)
        return
    if left >= 3:
        span = Span(column, start, 3)
        values = np.concatenate(span.values())
        if np.abs(values).max(initial=0.0) <= 2 * np.pi:
            if np.linalg.norm(values, axis=1).max(initial=0.0) <= np.pi + _NORM:
                yield RotationForm.AXIS_ANGLE, span
            if np.abs(values[:, 1]).max(initial=0.0) <= np.pi / 2 + _NORM:
                yield RotationForm.EULER_XYZ, span


def _is_unit(span: Span) -> bool:
    norms = np.linalg.norm(np.concatenate(span.values()), axis=1)
    return bool(norms.size and np.abs(norms - 1).max() < _NORM)


def _is_rot6d(span: Span) -> bool:
    values = np.concatenate(span.values())
    first, second = values[:, :3], values[:, 3:]
    off = [np.linalg.norm(first, axis=1) - 1, np.linalg.norm(second, axis=1) - 1, np.sum(first * second, axis=1)]
    return bool(values.size and max(np.abs(each).max() for each in off) < _NORM)


def grippers(columns: Sequence[Column], after: Span) -> Iterator[Span]:
    """Yield where a gripper may be: named so, the value after the rotation, the last one, or a column of its own."""
    column, end = after.column, after.start + after.width
    named = [at for at, name in enumerate(column.names) if any(word in name for word in _GRIPPER_WORDS)]
    if named:
        yield Span(column, named[0], 1)
    elif column.width > end:
        yield from (Span(column, at, 1) for at in dict.fromkeys((end, column.width - 1)))
    for other in columns:
        if other is not column and _has(other, _GRIPPER_WORDS) and other.is_action is column.is_action:
            yield Span(other, 0, 1)


def joints(columns: Sequence[Column]) -> Span | None:
    """Find joint positions by name, without fingers."""
    for column in columns:
        if column.is_action or "vel" in column.key.lower():
            continue
        named = [at for at, name in enumerate(column.names) if "joint" in name and "vel" not in name]
        if named and named == list(range(named[0], named[0] + len(named))):
            return Span(column, named[0], min(len(named), 7))
        if _is_joints(column) and column.width >= 5:
            return Span(column, 0, min(column.width, 7))
    return None


def is_tool(name: str) -> bool:
    """Tell whether a value's name is one of a gripper or of fingers."""
    return any(word in name for word in (*_GRIPPER_WORDS, "hand", "thumb"))


def says_joints(span: Span) -> bool:
    """Tell whether each value has the name of a joint's angle, or all stand in a column of joints without names.

    `wrist_x` and `wrist_force` are not such names, and the fingers of `gripper_qpos` are not an arm.
    """
    names = span.column.names[span.start : span.start + span.width]
    if not names:
        return _is_joints(span.column) and not is_tool(span.column.key.lower())
    return all(
        any(word in name for word in _JOINT_WORDS)
        and _axis(name) not in (_X, _Y, _Z)
        and not any(word in name for word in NO_POSITIONS)
        for name in names
    )


def _is_joints(column: Column) -> bool:
    return "joint" in column.key.lower() or "qpos" in column.key.lower()


def _names_joints(column: Column) -> bool:
    return any(word in name for name in column.names for word in _JOINT_WORDS)


def _has(column: Column, words: Sequence[str]) -> bool:
    return any(word in column.key.rpartition("/")[2].lower() for word in words)
