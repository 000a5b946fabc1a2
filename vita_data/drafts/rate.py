"""What the numbers tell about the rate: measured joint velocities against the motion of the joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.drafts.contents import Column
from vita_data.drafts.motion import correlate
from vita_data.drafts.poses import Span

_SIMILAR, _NEAR = 0.6, 1.25
_DEGREES = 1.1 * 2 * np.pi
"""Joints beyond a turn are not in radians."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReading:
    """The rate that joint velocities imply."""

    speeds: Span
    hz: float
    evidence: str


def read_rate(joints: Span | None, columns: Sequence[Column]) -> RateReading | None:
    """Compare joint velocities with the motion of the joints; None if there are none that fit."""
    if joints is None:
        return None
    for column in columns:
        if column.is_action or "vel" not in column.key.lower() or column.width < joints.width:
            continue
        speeds = Span(column, 0, joints.width)
        made = np.concatenate([np.diff(values, axis=0) for values in joints.values()])
        told = np.concatenate([values[:-1] for values in speeds.values()])
        correlation = correlate(made, told)[0] if made.shape == told.shape else 0.0
        if correlation > _SIMILAR:
            # of their sizes: noise makes any slope too small
            hz = float(np.linalg.norm(told) / np.linalg.norm(made))
            evidence = (
                f"{speeds} imply about {hz:.3g} rows a second (they correlate with {joints} at {correlation:.2f})"
            )
            return RateReading(speeds=speeds, hz=hz, evidence=evidence)
    return None


def contradicts(label: float, measured: float) -> bool:
    """Tell whether a measured rate is another one than a label."""
    return max(label, measured) / min(label, measured) > _NEAR


def joint_unit_rad(joints: Span) -> tuple[float, str]:
    """Return the unit of joint positions in radians, and the evidence."""
    largest = float(max(np.abs(values).max(initial=0.0) for values in joints.values()))
    unit = float(np.pi / 180) if largest > _DEGREES else 1.0
    return unit, f"{joints} reach {largest:.3g}: {'degrees' if unit < 1 else 'radians'}"
