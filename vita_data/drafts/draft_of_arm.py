"""The draft of one arm: its declaration, the evidence for it, and what the data does not tell."""

from dataclasses import dataclass, field

from vita_data.declared import ArmColumns, Gripper
from vita_data.drafts.contents import Column
from vita_data.drafts.gripper import GripperReading
from vita_data.drafts.poses import Span


@dataclass(eq=False)
class ArmDraft:
    """The arm, if one was found, with evidence for its values and what is not told, by the path of the value."""

    place: str
    """Where it stands: `left` or `right` of the declaration, or the name of a value above it."""
    columns: tuple[Column, ...]
    """Those that it may have."""
    arm: ArmColumns | None = None
    joints: Span | None = None
    """Its measured joints, by whose velocities the rate is told."""
    evidence: list[str] = field(default_factory=list)
    untold: dict[str, str] = field(default_factory=dict)

    def leave_open(self, value: str, what: str) -> None:
        """Say that a value of the arm is not told; an empty one is the arm itself."""
        self.untold[f"{self.place}.{value}" if value else self.place] = what

    def gripper(self, reading: GripperReading) -> Gripper:
        """Declare a gripper as it was read."""
        return Gripper(reading.span.column.key, reading.span.first, open=reading.open, closed=reading.closed)

    def leave_gripper_open(self, told: GripperReading, measured: GripperReading | None) -> None:
        """Say what is not told about the ends of a gripper."""
        if measured is not None:
            ends = f"{min(measured.open, measured.closed):.3g} to {max(measured.open, measured.closed):.3g}"
            self.leave_open("gripper, its range", f"whether {ends}, which the sample shows, is all of it")
        if not told.is_told:
            for value in ("action.gripper", *(["gripper"] if measured else [])):
                for end in ("open", "closed"):
                    self.leave_open(f"{value}.{end}", f"which value is {end}: {told.evidence}")
