"""P4: by how many rows does the hand follow its action.

A shift of one row between observations and actions is the commonest fault of a dataset, and no integral shows it.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.pages.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, runs
from vita_data.types import Float64, SourceInfo, SourceSettings

MAX_LAG = 3
_MIN_CORRELATION = 0.2
_STILL = np.array([1e-5] * 3 + [1e-4] * 3)


def lag(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P4: find by how many rows the measured motion follows the action, from -3 to 3.

    The correlation is the mean over the six axes that move, each over all rows of the sample.
    """
    found = _lag_correlations(sample, info)
    if not found:
        return not_applicable(Probe.LAG, "no run of the sample has actions, measured poses and motion")
    best = max(found, key=lambda shift: (found[shift], shift in info.action_lags))
    allowed = " or ".join(f"{shift:+d}" if shift else "0" for shift in info.action_lags)
    verdict, meaning = Verdict.HELD, "an action moves the hand in its own row"
    if best not in info.action_lags:
        verdict = Verdict.FAILED
        meaning = f"the hand moves {abs(best)} rows {'after' if best > 0 else 'before'} its action: rows are misaligned"
    elif found[best] < _MIN_CORRELATION:
        verdict, meaning = Verdict.WARNING, "the motion hardly follows the actions at any lag"
    elif best:
        meaning = f"the hand follows its action by {best:+d} rows, which is known of this source"
    return ProbeResult(
        probe=Probe.LAG,
        verdict=verdict,
        meaning=meaning,
        measures=(
            Measure(name="lag of the highest correlation", value=best, unit="rows", limit=allowed),
            Measure(name="correlation there", value=found[best], unit="", limit=f"above {_MIN_CORRELATION}"),
        ),
        settings=setting_keys(settings, ("lag", "shift", "align", "latency", "delay")),
        table=Table(header=("lag in rows", "correlation"), rows=tuple((f"{k:+d}", v) for k, v in found.items())),
    )


def _motion_pairs(sample: Sample) -> Iterator[tuple[Float64, Float64]]:
    """Action and measured motion [n, 6] of each run, row t of both starting at the same pose."""
    for episode, sampled in sample.arms:
        xyz, rotation, delta = sampled.arm.xyz_m, sampled.arm.rotation, sampled.delta
        if xyz is None or rotation is None or delta is None:
            continue
        for start, stop in runs(episode.step_index):
            turn = euler_xyz_from_matrix(rotation_delta(rotation[start : stop - 1], rotation[start + 1 : stop]))
            yield delta[start : stop - 1], np.column_stack([np.diff(xyz[start:stop], axis=0), turn])


def _lag_correlations(sample: Sample, info: SourceInfo) -> Mapping[int, float]:
    most = np.repeat([info.max_step_m, info.max_step_rad], 3)
    pairs = [pair for pair in _motion_pairs(sample) if len(pair[0]) > MAX_LAG]
    found: dict[int, float] = {}
    for shift in range(-MAX_LAG, MAX_LAG + 1) if pairs else ():
        action = np.concatenate([told[max(0, -shift) : len(told) - max(0, shift)] for told, _ in pairs])
        motion = np.concatenate([made[max(0, shift) : len(made) - max(0, -shift)] for _, made in pairs])
        # One outlier outweighs all other rows; the build marks rows beyond these limits invalid.
        within = (np.abs(action) <= most).all(axis=1) & (np.abs(motion) <= most).all(axis=1)
        if not within.any():
            continue
        action, motion = action[within], motion[within]
        action, motion = action - action.mean(axis=0), motion - motion.mean(axis=0)
        spread = action.std(axis=0), motion.std(axis=0)
        moves = (spread[0] > _STILL) & (spread[1] > _STILL)
        if moves.any():
            found[shift] = float(np.mean((action * motion).mean(axis=0)[moves] / (spread[0] * spread[1])[moves]))
    return found
