"""P2: whether the canonical deltas lead from measured pose to measured pose.

Rows are compared only within runs of consecutive native steps. Only arms are checked, not a base.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vita_data.geometry import angle_deg, integrate_deltas
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, SampledArm, runs
from vita_data.types import ActionOrigin, Episode, Float64, SourceInfo, SourceSettings

_REACHED_M, _REACHED_DEG = 0.02, 5.0
_COMMANDED_M, _COMMANDED_DEG, _COMMANDED_SHARE = 0.10, 25.0, 0.9
_MOVING_M, _MOVING_DEG = 0.01, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _SecondError:
    """One second of one arm: how far integrated deltas end from the measured pose, and both paths."""

    error_m: float
    error_deg: float
    path_m: float
    path_deg: float


def integration(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P2: integrate the canonical deltas over each second from its measured pose and compare the end.

    Only seconds in which hand or command move count. Commanded deltas have loose limits.

    Assumes: the limits are our own choice (2 cm and 5 degrees per second for reached poses).
    Assumes: the loose limits are 10 cm and 25 degrees, and an error below 0.9 of the longer of the two paths: a hand
        that does not move has an error of one path, one that moves the other way an error of two.
    """
    if not info.tracks_commands:
        why = "this source's controller does not reach the commanded poses, so deltas do not integrate to poses"
        return not_applicable(Probe.INTEGRATION, why)
    seconds = [error for episode, arm in sample.arms for error in _second_errors(episode, arm)]
    position = np.array([(each.error_m, each.path_m) for each in seconds if each.path_m > _MOVING_M]).reshape(-1, 2)
    rotation = np.array([(each.error_deg, each.path_deg) for each in seconds if each.path_deg > _MOVING_DEG])
    rotation = rotation.reshape(-1, 2)
    if not len(position) and not len(rotation):
        return not_applicable(Probe.INTEGRATION, "no second of the sample has actions, measured poses and motion")
    reached = info.action_origin is ActionOrigin.REACHED
    checks = [
        _check("position error after a second", position, unit="m", limit=_REACHED_M if reached else _COMMANDED_M),
        _check("rotation error after a second", rotation, unit="deg",
               limit=_REACHED_DEG if reached else _COMMANDED_DEG),
    ]  # fmt: skip
    if not reached:
        checks += [
            _check(f"{name} error as a share of the path", _relative(pairs), unit="", limit=_COMMANDED_SHARE)
            for name, pairs in (("position", position), ("rotation", rotation))
        ]
    held = all(good for _, good in checks)
    fault = (
        "the deltas do not lead from pose to pose: their scale, frame, sign or rotation convention is not as assumed"
    )
    meaning = "integrated deltas lead to the measured poses" if held else fault
    return ProbeResult(
        probe=Probe.INTEGRATION, verdict=Verdict.HELD if held else Verdict.FAILED,
        meaning=f"{meaning} ({len(seconds)} seconds of {info.action_origin} actions)",
        measures=tuple(measure for measure, _ in checks),
        settings=setting_keys(settings, ("action", "scale")),
    )  # fmt: skip


def _second_errors(episode: Episode, sampled: SampledArm) -> Iterator[_SecondError]:
    xyz, rotation, delta = sampled.arm.xyz_m, sampled.arm.rotation, sampled.delta
    if xyz is None or rotation is None or delta is None:
        return
    num_steps = max(1, round(episode.hz))
    for first, stop in runs(episode.step_index):
        for start in range(first, stop - num_steps, num_steps):
            rows, end = slice(start, start + num_steps), start + num_steps
            ends, turns = integrate_deltas(xyz[start], rotation[start], delta[rows])
            hand_m = np.linalg.norm(np.diff(xyz[start : end + 1], axis=0), axis=1).sum()
            told_m = np.linalg.norm(delta[rows, :3], axis=1).sum()
            yield _SecondError(
                error_m=float(np.linalg.norm(ends[-1] - xyz[end])),
                error_deg=float(angle_deg(turns[-1:], rotation[end : end + 1])[0]),
                path_m=float(max(hand_m, told_m)),
                path_deg=float(
                    max(
                        angle_deg(rotation[start:end], rotation[start + 1 : end + 1]).sum(),
                        angle_deg(turns[:-1], turns[1:]).sum(),
                    )
                ),
            )


def _relative(pairs: Float64) -> Float64:
    """Convert errors and paths [N, 2] to errors as shares of their paths, and paths."""
    return np.column_stack([pairs[:, 0] / pairs[:, 1], pairs[:, 1]])


def _check(name: str, pairs: Float64, *, unit: str, limit: float) -> tuple[Measure, bool]:
    """Compare the median of column 0 of [N, 2] with a limit; an empty measurement passes."""
    value = float(np.median(pairs[:, 0])) if len(pairs) else None
    return Measure(name=name, value=value, unit=unit, limit=f"below {limit:g}"), value is None or value < limit
