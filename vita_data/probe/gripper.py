"""P3: whether 1 means open in both the gripper command and the measured opening, and whether their range is 0 to 1."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.pages.drawing.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample, runs
from vita_data.types import Arm, Float64, SourceInfo, SourceSettings

_SETTINGS = ("gripper", "polarity")
_MAX_DELAY_S = 1.0
_OPEN = 0.5
_MOVES = 1e-3
_NEARLY_ALL, _MIN_STARTS = 0.9, 5
_LEAST_OPENING, _ABOVE_OPEN, _MAX_CLIPPED = 0.5, 1.05, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Measurements of a sample's grippers."""

    correlation: float | None
    """The strongest correlation of opening and command; None if either never changes."""
    share_open: float
    """Share of the episodes' first commands that are open."""
    share_closed: float | None
    """Share of the episodes' first rows with command and measured width closed; None without widths."""
    largest: float
    """99th percentile of all openings, measured and commanded, before they are clipped."""
    share_clipped: float


def gripper_polarity(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P3: correlate the measured opening with the command in force, and check whether episodes start open.

    Fingers take time to move, so the strongest correlation (of either sign) within a second counts. If no opening is
    measured, or nothing moves, only the start decides. If both are flipped together, only the start shows it: the probe
    fails if the hand is closed, by width and command, at the start of nearly all episodes; else it gives a warning,
    because some tasks do start with a closed hand. If a setting scales the gripper, its openings must fill 0 to 1.

    Assumes: the limits are our own choice.
    Assumes: nearly all is 0.9 of at least 5 starts; openings fill the range if the 99th percentile is at least 0.5
        and at most 30 % of the rows are above 1.05, all of which the build clips to 1.
    """
    arms = [
        (command, sampled.arm.gripper_open)
        for _, sampled in sample.arms
        if (command := _command(sampled.arm)) is not None
    ]
    if not arms:
        return not_applicable(Probe.GRIPPER, f"{info.name} has no gripper commands")
    found = _delay_correlations(sample)
    delay = max(found, key=lambda rows: abs(found[rows]), default=0)
    seen, keys = _seen(arms, found.get(delay)), setting_keys(settings, _SETTINGS)
    verdict, meaning = (_scale_verdict(seen) if keys else None) or _sign_verdict(seen)
    return ProbeResult(
        probe=Probe.GRIPPER, verdict=verdict, meaning=meaning,
        measures=(
            Measure(name="correlation of opening and command", value=seen.correlation, unit="", limit="above 0"),
            Measure(name="share of episodes that start open", value=seen.share_open, unit="",
                    limit=f"at least {_OPEN}"),
            Measure(name="largest opening, 99th percentile", value=seen.largest, unit="",
                    limit=f"near 1, at least {_LEAST_OPENING}"),
            Measure(name=f"share of openings above {_ABOVE_OPEN}", value=seen.share_clipped, unit="",
                    limit=f"at most {_MAX_CLIPPED}"),
        ),
        settings=keys,
        table=Table(header=("delay in rows", "correlation"), rows=tuple((str(k), v) for k, v in found.items())),
    )  # fmt: skip


def _command(arm: Arm) -> Float64 | None:
    return None if arm.action is None else arm.action.gripper_open


def _seen(arms: Sequence[tuple[Float64, Float64 | None]], correlation: float | None) -> _Seen:
    """Summarize the commands and, where measured, the openings of all arms."""
    commands = [command for command, _ in arms]
    openings = [opening for _, opening in arms if opening is not None]
    pairs = [(command[0], opening[0]) for command, opening in arms if opening is not None]
    values = np.concatenate([*commands, *openings])
    judged = len(pairs) >= _MIN_STARTS
    return _Seen(
        correlation=correlation,
        share_open=float(np.mean([command[0] > _OPEN for command in commands])),
        share_closed=float(np.mean([max(pair) < _OPEN for pair in pairs])) if judged else None,
        largest=float(np.quantile(values, 0.99)),
        share_clipped=float(np.mean(values > _ABOVE_OPEN)),
    )


def _scale_verdict(seen: _Seen) -> tuple[Verdict, str] | None:
    """Tell in which direction the gripper's scale is off; None if openings fill the range."""
    if seen.largest < _LEAST_OPENING:
        beyond = f"no hand opens beyond {seen.largest:.2g}"
        return Verdict.FAILED, f"{beyond}: the reading of an open gripper is set too high"
    if seen.share_clipped > _MAX_CLIPPED:
        share = f"{100 * seen.share_clipped:.0f} % of the openings"
        return Verdict.FAILED, f"{share} are above 1 and are clipped: the reading of an open gripper is set too low"
    return None


def _sign_verdict(seen: _Seen) -> tuple[Verdict, str]:
    starts_open = seen.share_open >= _OPEN
    if seen.correlation is None and starts_open:
        return Verdict.HELD, "no measured opening follows the command, but most episodes start with an open hand"
    if seen.correlation is None:
        return Verdict.FAILED, "most episodes start with a closed hand: 1 may not be open in this download"
    if seen.correlation <= 0:
        return Verdict.FAILED, "the fingers move against the command: one of the two has the wrong sign"
    if starts_open:
        return Verdict.HELD, "commands and measurements agree that 1 is open"
    both = "command and measurement agree, but"
    if seen.share_closed is not None and seen.share_closed >= _NEARLY_ALL:
        return Verdict.FAILED, f"{both} nearly all episodes start with a closed hand: both have the wrong sign"
    return Verdict.WARNING, f"{both} most episodes start with a closed hand: both may have the wrong sign"


def _gripper_runs(sample: Sample) -> Iterator[tuple[Float64, Float64, int]]:
    """Yield command and opening [n] of each run, and the rows per second."""
    for episode, sampled in sample.arms:
        command, opening = _command(sampled.arm), sampled.arm.gripper_open
        if command is None or opening is None:
            continue
        for start, stop in runs(episode.step_index):
            yield command[start:stop], opening[start:stop], max(1, round(episode.hz * _MAX_DELAY_S))


def _delay_correlations(sample: Sample) -> Mapping[int, float]:
    """Correlate command and opening within runs, for delays of up to a second; empty if either never changes."""
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
