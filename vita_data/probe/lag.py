"""P4: by how many rows the hand follows its action, or the joints follow their targets where no hand is known.

A shift of one row between observations and actions is the most common fault of a dataset, and no integral shows it.
"""

from collections.abc import Iterator

import numpy as np

from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.motion_lag import JOINTS, MIN_MARGIN, Response, Run, response
from vita_data.pages.drawing.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, runs
from vita_data.slots import NUM_JOINTS
from vita_data.types import Float64, PoseTarget, SourceInfo, SourceSettings


def lag(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P4: find by how many rows the measured motion follows the action, and fail if it is not the expected number.

    If the sample cannot tell (too few rows, or motion that is similar in neighbouring rows), it is a warning.
    """
    found, what = measured_lag(sample, info), "hand"
    if found is None:
        found, what = measured_joint_lag(sample, info), "arm"
    if found is None:
        return not_applicable(Probe.LAG, "no run of the sample has actions, measured poses or joints, and motion")
    verdict, meaning = _verdict(found, info.action_lag, what)
    return ProbeResult(
        probe=Probe.LAG,
        verdict=verdict,
        meaning=meaning,
        measures=(
            Measure(name=f"rows by which the {what} follows its action", value=found.lag, unit="rows",
                    limit=str(info.action_lag)),
            Measure(name="margin over the next best lag", value=found.margin, unit="", limit=f"at least {MIN_MARGIN}"),
        ),
        settings=setting_keys(settings, ("lag", "shift", "align", "latency", "delay")),
        table=Table(header=("lag in rows", found.what), rows=tuple((f"{k:+d}", v) for k, v in found.by_lag.items())),
    )  # fmt: skip


def measured_lag(sample: Sample, info: SourceInfo) -> Response | None:
    """Find by how many rows the hand's motion follows the action; None without actions, poses and motion."""
    most = np.repeat([info.max_step_m, info.max_step_rad], 3)
    return response(list(_hand_runs(sample)), most=most, expected=info.action_lag)


def measured_joint_lag(sample: Sample, info: SourceInfo) -> Response | None:
    """Find by how many rows the joints follow their targets; None without targets, joints and motion."""
    most = np.full(NUM_JOINTS, info.max_step_rad)
    return response(list(_joint_runs(sample)), most=most, expected=info.action_lag, axes=JOINTS)


def _verdict(found: Response, expected: int, what: str) -> tuple[Verdict, str]:
    if not found.is_sure:
        likely = "" if found.lag is None else f"; most likely it moves {_when(found.lag)}"
        return Verdict.WARNING, f"cannot tell by how many rows the {what} follows its action{likely}"
    if found.lag != expected:
        return Verdict.FAILED, f"the {what} moves {_when(found.lag)}, expected {_when(expected)}: rows are misaligned"
    if expected:
        return Verdict.HELD, f"the {what} moves {_when(expected)}, as expected for this source"
    return Verdict.HELD, f"an action moves the {what} in its own row"


def _when(lag: int | None) -> str:
    if not lag:
        return "in its action's own row"
    rows = f"{abs(lag)} row{'s' if abs(lag) > 1 else ''}"
    return f"{rows} {'after' if lag > 0 else 'before'} its action"


def _hand_runs(sample: Sample) -> Iterator[Run]:
    for episode, sampled in sample.arms:
        arm, delta = sampled.arm, sampled.delta
        if arm.xyz_m is None or arm.rotation is None or arm.action is None or delta is None:
            continue
        for start, stop in runs(episode.step_index):
            rows = slice(start, stop - 1)
            target = arm.action.motion
            yield Run(
                action=delta[rows],
                target_step=_steps(target.xyz_m[rows], target.rotation[rows])
                if isinstance(target, PoseTarget)
                else None,
                motion=_steps(arm.xyz_m[start:stop], arm.rotation[start:stop]),
            )


def _joint_runs(sample: Sample) -> Iterator[Run]:
    for episode, sampled in sample.arms:
        position, action = sampled.arm.joint_position_rad, sampled.arm.action
        target = None if action is None else action.joint_target_rad
        if action is None or position is None or target is None or position.shape != target.shape:
            continue
        spare = ((0, 0), (0, max(NUM_JOINTS - position.shape[1], 0)))
        position, target = (np.pad(angles[:, :NUM_JOINTS], spare) for angles in (position, target))
        for start, stop in runs(episode.step_index):
            rows = slice(start, stop - 1)
            yield Run(
                action=target[rows] - position[rows],
                target_step=None if action.has_joint_deltas else np.diff(target[rows], axis=0),
                motion=np.diff(position[start:stop], axis=0),
            )


def _steps(xyz_m: Float64, rotation: Float64) -> Float64:
    """Convert poses [n, 3], [n, 3, 3] to the motion [n - 1, 6] from each to the next."""
    turn = euler_xyz_from_matrix(rotation_delta(rotation[:-1], rotation[1:]))
    return np.column_stack([np.diff(xyz_m, axis=0), turn])
