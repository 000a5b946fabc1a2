"""P5: whether a robot can move as fast as the steps imply at the given rate, and whether their spread is as published.

Detects a wrong rate only if speeds or recorded joint velocities show it.
"""

import numpy as np

from vita_data.geometry import wrap_angle
from vita_data.pages.drawing.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, runs
from vita_data.types import Float64, SourceInfo, SourceSettings

_MAX_HAND_M_S, _MAX_JOINT_RAD_S = 1.5, 2.5
_MIN_HAND_M_S = 0.01
_OTHER_RATES_HZ = (10.0, 30.0)
_MAX_RATE_FACTOR = 1.5
_MAX_SPAN_FACTOR = 5.0
_AXES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw")


def rate(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P5: check whether hand and joints move at speeds that a robot can reach, at the given rate.

    If joint velocities are recorded, the rate that they imply must be within a factor 1.5 of the given one; if
    statistics are published, the spread of each motion axis must be within a factor 5 (else a warning).

    Assumes: the limits are our own choice (1.5 m/s, 2.5 rad/s) and 4 (public statistics).
    """
    hand_m, joint_rad, rates = _steps_of(sample)
    if not rates or not (hand_m.size or joint_rad.size):
        return not_applicable(Probe.RATE, "no run of the sample has measured poses or joints")
    hz = float(np.median(rates))
    speeds = {each: (_p99(hand_m, each), _p99(joint_rad, each)) for each in (hz, *_OTHER_RATES_HZ)}
    (hand, joint), implied, off = speeds[hz], _implied_hz(sample), _off_range(sample, info)
    held = (hand or 0.0) < _MAX_HAND_M_S and (joint or 0.0) < _MAX_JOINT_RAD_S
    held &= implied is None or 1 / _MAX_RATE_FACTOR < implied / hz < _MAX_RATE_FACTOR
    verdict, meaning = Verdict.HELD, f"speeds at {hz:.4g} Hz are possible for a robot"
    if not held:
        verdict = Verdict.FAILED
        meaning = f"{hz:.4g} Hz cannot be the rate of these steps, or lengths and angles have another unit"
    elif hand is not None and hand < _MIN_HAND_M_S:
        verdict, meaning = Verdict.WARNING, f"the hand hardly moves at {hz:.4g} Hz: rate or scale may differ"
    elif off:
        verdict = Verdict.WARNING
        meaning = f"the spread of {', '.join(off)} differs from the published statistics: rate or scale may differ"
    factor = f"{hz / _MAX_RATE_FACTOR:.4g} to {hz * _MAX_RATE_FACTOR:.4g}"
    rows = tuple((f"at {each:.4g} Hz", *speeds[each]) for each in (hz, *_OTHER_RATES_HZ))
    return ProbeResult(
        probe=Probe.RATE, verdict=verdict, meaning=f"{meaning} ({_alternatives(rows)})",
        measures=(
            Measure(name="hand speed, 99th percentile", value=hand, unit="m/s", limit=f"below {_MAX_HAND_M_S}"),
            Measure(name="joint speed, 99th percentile", value=joint, unit="rad/s", limit=f"below {_MAX_JOINT_RAD_S}"),
            Measure(name="rate implied by recorded joint velocities", value=implied, unit="Hz", limit=factor),
        ),
        settings=setting_keys(settings, ("hz",)),
        table=Table(header=("rate", "hand m/s (p99)", "joints rad/s (p99)"), rows=rows),
    )  # fmt: skip


def _steps_of(sample: Sample) -> tuple[Float64, Float64, list[float]]:
    """Return how far the hand [N] and the fastest joint [M] move per native step, and the given rates."""
    hand: list[Float64] = [np.zeros(0)]
    joints: list[Float64] = [np.zeros(0)]
    rates: list[float] = []
    for episode, sampled in sample.arms:
        rates.append(episode.hz)
        xyz, angles = sampled.arm.xyz_m, sampled.arm.joint_position_rad
        for start, stop in runs(episode.step_index):
            if xyz is not None:
                hand.append(np.linalg.norm(np.diff(xyz[start:stop], axis=0), axis=1))
            if angles is not None and stop - start > 1:
                joints.append(np.abs(wrap_angle(np.diff(angles[start:stop], axis=0))).max(axis=1))
    return np.concatenate(hand), np.concatenate(joints), rates


def _alternatives(rows: tuple[tuple[str, float | None, float | None], ...]) -> str:
    """Describe the speeds at other rates."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{value:.3g} {unit}" for value, unit in ((hand, "m/s"), (joint, "rad/s"))
                                if value is not None)
        for name, hand, joint in rows[1:]
    )  # fmt: skip


def _p99(steps: Float64, hz: float) -> float | None:
    return float(np.quantile(steps, 0.99) * hz) if steps.size else None


def _implied_hz(sample: Sample) -> float | None:
    """Fit the duration of a step to joint steps and recorded velocities; None if they do not match."""
    steps: list[Float64] = [np.zeros(0)]
    speeds: list[Float64] = [np.zeros(0)]
    for episode, sampled in sample.arms:
        angles, speed = sampled.arm.joint_position_rad, sampled.arm.joint_velocity_rad_s
        if angles is None or speed is None:
            continue
        width = min(angles.shape[1], speed.shape[1])
        for start, stop in runs(episode.step_index):
            steps.append(wrap_angle(np.diff(angles[start:stop, :width], axis=0)).ravel())
            speeds.append(((speed[start : stop - 1, :width] + speed[start + 1 : stop, :width]) / 2).ravel())
    step, mean_speed = np.concatenate(steps), np.concatenate(speeds)
    together = float(step @ mean_speed)
    if together <= 0 or together < 0.5 * np.linalg.norm(step) * np.linalg.norm(mean_speed):
        return None
    return float(mean_speed @ mean_speed) / together


def _off_range(sample: Sample, info: SourceInfo) -> list[str]:
    """Return the motion axes whose p01..p99 span is more than 5 times larger or smaller than the published one."""
    deltas = [arm.delta for _, arm in sample.arms if arm.delta is not None]
    if info.published_range is None or not deltas:
        return []
    low, high = np.quantile(np.concatenate(deltas), (0.01, 0.99), axis=0)
    ratio = (high - low) / (np.array(info.published_range.q99) - np.array(info.published_range.q01))
    return [name for name, each in zip(_AXES, ratio, strict=True) if not 1 / _MAX_SPAN_FACTOR < each < _MAX_SPAN_FACTOR]
