"""P10: whether the poses that were computed from joints are those that the dataset recorded."""

from dataclasses import dataclass

import numpy as np

from vita_data.geometry import angle_deg
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable
from vita_data.probe.sample import Sample
from vita_data.types import Arm, Float64, SourceInfo, SourceSettings

_MOST_M, _MOST_DEG = 0.01, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Differences:
    """How far two poses of one arm are apart, row by row, and how much the way between them varies."""

    apart_m: Float64
    apart_deg: Float64
    in_tip: tuple[float, float]
    """Medians in m and degrees of how the recorded pose moves, seen from the computed tip: 0 for another tip."""
    in_base: tuple[float, float]
    """How the base moves that would explain the recorded pose: 0 for another base."""


def kinematics(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P10: compare computed with recorded poses.

    Where they differ by the same displacement in all rows, the recorded pose is that of another tip or in another base:
    a warning. Anything else is a wrong order, sign, offset or unit of the joints.

    Assumes: the limits are our own choice (1 cm and 3 degrees, in the median).
    """
    found = [_differences(sampled.arm) for _, sampled in sample.arms if _is_comparable(sampled.arm)]
    if not found:
        return not_applicable(Probe.KINEMATICS, "no arm has poses computed from joints as well as recorded ones")
    apart = _medians(found)
    verdict, meaning = _verdict(apart, found)
    return ProbeResult(
        probe=Probe.KINEMATICS,
        verdict=verdict,
        meaning=meaning,
        measures=(
            Measure(name="computed to recorded position", value=apart[0], unit="m", limit=f"below {_MOST_M:g}"),
            Measure(name="computed to recorded rotation", value=apart[1], unit="deg", limit=f"below {_MOST_DEG:g}"),
        ),
    )


def _medians(found: list[_Differences]) -> tuple[float, float]:
    metres, degrees = (np.concatenate([getattr(each, name) for each in found]) for name in ("apart_m", "apart_deg"))
    return float(np.median(metres)), float(np.median(degrees))


def _verdict(apart: tuple[float, float], found: list[_Differences]) -> tuple[Verdict, str]:
    if _is_small(apart):
        return Verdict.HELD, f"poses computed from joints are the recorded ones ({len(found)} episodes and arms)"
    where = f"the recorded pose is {apart[0]:.3f} m and {apart[1]:.1f} degrees away from the computed one"
    if all(_is_small(each.in_tip) for each in found):
        return Verdict.WARNING, f"{where} in all rows, as that of another tip link would be; is the tip the right one?"
    if all(_is_small(each.in_base) for each in found):
        return Verdict.WARNING, f"{where}, as if it were in another base link; is the base the right one?"
    return Verdict.FAILED, (
        f"{where}, and not in the same way in all rows: the order, unit, signs or offsets of the joints are wrong, or "
        "both base and tip are others"
    )


def _is_small(values: tuple[float, float]) -> bool:
    return values[0] < _MOST_M and values[1] < _MOST_DEG


def _is_comparable(arm: Arm) -> bool:
    xyz, rotation = arm.recorded_xyz_m, arm.recorded_rotation
    return (
        xyz is not None and rotation is not None and bool((np.isfinite(xyz) & np.isfinite(rotation[:, 0])).all(1).any())
    )


def _differences(arm: Arm) -> _Differences:
    computed, recorded = _matrices(arm.xyz_m, arm.rotation), _matrices(arm.recorded_xyz_m, arm.recorded_rotation)
    rows = np.isfinite(recorded).all(axis=(1, 2))  # recorded poses are not stored, so the build drops no row for them
    computed, recorded = computed[rows], recorded[rows]
    return _Differences(
        apart_m=np.linalg.norm(recorded[:, :3, 3] - computed[:, :3, 3], axis=1),
        apart_deg=angle_deg(recorded[:, :3, :3], computed[:, :3, :3]),
        in_tip=_variation(np.linalg.inv(computed) @ recorded),
        in_base=_variation(recorded @ np.linalg.inv(computed)),
    )


def _variation(poses: Float64) -> tuple[float, float]:
    """Return how far poses [T, 4, 4] are from the one in the middle, in the median, in m and degrees."""
    middle = poses[len(poses) // 2 :][:1]
    metres = np.linalg.norm(poses[:, :3, 3] - middle[:, :3, 3], axis=1)
    return float(np.median(metres)), float(np.median(angle_deg(poses[:, :3, :3], middle[:, :3, :3])))


def _matrices(xyz_m: Float64 | None, rotation: Float64 | None) -> Float64:
    if xyz_m is None or rotation is None:
        raise TypeError("expected a pose")
    matrices = np.zeros((len(xyz_m), 4, 4))
    matrices[:, :3, :3], matrices[:, :3, 3], matrices[:, 3, 3] = rotation, xyz_m, 1.0
    return matrices
