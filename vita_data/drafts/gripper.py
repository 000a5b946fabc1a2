"""Which value of a gripper is open: by where episodes start, and by what the measured fingers do."""

from dataclasses import dataclass

import numpy as np

from vita_data.drafts.poses import Span

_MOSTLY, _SIMILAR, _LOW, _HIGH = 0.8, 0.3, 0.01, 0.99
_MIDDLE = 0.25
_FIRST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GripperReading:
    """The two ends of a gripper's values."""

    span: Span
    open: float
    closed: float
    is_told: bool
    evidence: str


def read_command(span: Span) -> GripperReading | None:
    """Read a gripper command: most episodes start with an open hand. None if it never changes."""
    values = np.concatenate(span.values())[:, 0]
    low, high = (float(np.quantile(values, share)) for share in (_LOW, _HIGH))
    if not np.isfinite(values).all() or high - low < 1e-6:
        return None
    # several rows: the first action of a recording may be a filler
    starts = np.array([np.median(episode[:_FIRST, 0]) for episode in span.values() if len(episode)])
    share_high = float(np.mean(starts > (low + high) / 2))
    undecided = float(np.mean(np.abs(values - (low + high) / 2) < _MIDDLE * (high - low)))
    is_relative = undecided > _MOSTLY
    opens_high = share_high >= 0.5
    told = max(share_high, 1 - share_high) >= _MOSTLY and not is_relative
    evidence = f"{span} is {low:.3g} to {high:.3g}; {100 * share_high:.0f}% of the episodes start near {high:.3g}"
    if is_relative:
        evidence += f", but {100 * undecided:.0f}% of the rows are in the middle: commands may be relative"
    return GripperReading(
        span=span, open=high if opens_high else low, closed=low if opens_high else high, is_told=told, evidence=evidence
    )


def read_measured(span: Span, command: GripperReading) -> GripperReading | None:
    """Read a measured gripper: it moves with the command. None if it never changes or does not follow."""
    values = np.concatenate(span.values())[:, 0]
    told = np.concatenate(command.span.values())[:, 0]
    low, high = (float(np.quantile(values, share)) for share in (_LOW, _HIGH))
    if len(values) != len(told) or high - low < 1e-6:
        return None
    opening = (told - command.closed) / (command.open - command.closed)
    correlation = float(np.corrcoef(values, opening)[0, 1])
    if not abs(correlation) > _SIMILAR:
        return None
    rises = correlation > 0
    return GripperReading(
        span=span, open=high if rises else low, closed=low if rises else high, is_told=command.is_told,
        evidence=f"{span} is {low:.3g} to {high:.3g} and follows the command's opening at {correlation:.2f}",
    )  # fmt: skip
