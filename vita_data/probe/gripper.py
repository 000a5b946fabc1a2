"""P3: is 1 open, in the gripper command and in the measured opening alike."""

from collections.abc import Iterator, Mapping

import numpy as np

from vita_data.pages.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, runs
from vita_data.types import Float64, SourceInfo, SourceSettings

_SETTINGS = ("gripper", "polarity")
_MAX_DELAY_S = 1.0
_OPEN = 0.5
_MOVES = 1e-3


def gripper_polarity(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P3: correlate the measured opening with the command in force, and see whether episodes start open.

    Fingers take time, so the strongest correlation (of either sign) within a second counts. Where no opening is
    measured, or nothing moves, the start alone decides; where both are flipped together, only the start tells, which
    is a warning, because some tasks do start with a closed hand.

    Source: datasets.md section 9.
    """
    starts = [float(arm.arm.action.gripper_open[0] > _OPEN) for _, arm in sample.arms if arm.arm.action is not None]
    if not starts:
        return not_applicable(Probe.GRIPPER, f"{info.name} has no gripper commands")
    found = _delay_correlations(sample)
    delay = max(found, key=lambda rows: abs(found[rows]), default=0)
    correlation, share_open = found.get(delay), float(np.mean(starts))
    starts_open = share_open >= _OPEN
    verdict, meaning = Verdict.HELD, "commands and measurements agree that 1 is open"
    if correlation is not None and correlation <= 0:
        verdict, meaning = Verdict.FAILED, "the fingers move against the command: one of the two is read upside down"
    elif correlation is None and not starts_open:
        verdict, meaning = Verdict.FAILED, "most episodes start with a closed hand: 1 may not be open in this download"
    elif not starts_open:
        verdict = Verdict.WARNING
        meaning = "command and measurement agree, but most episodes start with a closed hand: both may be upside down"
    elif correlation is None:
        meaning = "no measured opening follows the command, but most episodes start with an open hand"
    return ProbeResult(
        probe=Probe.GRIPPER, verdict=verdict, meaning=meaning,
        measures=(
            Measure(name="correlation of opening and command", value=correlation, unit="", limit="above 0"),
            Measure(name="share of episodes that start open", value=share_open, unit="", limit=f"at least {_OPEN}"),
        ),
        settings=setting_keys(settings, _SETTINGS),
        table=Table(header=("delay in rows", "correlation"), rows=tuple((str(k), v) for k, v in found.items())),
    )  # fmt: skip


def _gripper_runs(sample: Sample) -> Iterator[tuple[Float64, Float64, int]]:
    """Command and opening [n] of each run and the rows in a second."""
    for episode, sampled in sample.arms:
        action, opening = sampled.arm.action, sampled.arm.gripper_open
        if action is None or opening is None:
            continue
        for start, stop in runs(episode.step_index):
            yield action.gripper_open[start:stop], opening[start:stop], max(1, round(episode.hz * _MAX_DELAY_S))


def _delay_correlations(sample: Sample) -> Mapping[int, float]:
    """Correlate command and opening within runs, for delays of up to a second; empty where either never moves."""
    pairs = list(_gripper_runs(sample))
    found: dict[int, float] = {}
    for delay in range(max((rows for *_, rows in pairs), default=-1) + 1):
        sums = np.zeros(3)
        for command, opening, rows in pairs:
            if delay <= rows and len(command) > delay + 1:
                told, made = command[: len(command) - delay], opening[delay:]
                told, made = told - told.mean(), made - made.mean()
                sums += told @ made, told @ told, made @ made
        if min(sums[1], sums[2]) > _MOVES:
            found[delay] = float(sums[0] / np.sqrt(sums[1] * sums[2]))
    return found
