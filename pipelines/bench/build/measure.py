"""Measure several ways to do the same work in turns, and compute their ratios.

On a shared machine, speed varies over time. Therefore the ways of a contest take turns, and the ratio is the median of
the ratios of the rounds, which varies much less than the times.
"""

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Clock(StrEnum):
    """Which time is measured."""

    CPU = "CPU second"
    """User and system time of this process and its finished children."""
    WALL = "second"

    def now_s(self) -> float:
        """Read the clock."""
        if self is Clock.WALL:
            return time.perf_counter()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to do the work."""

    name: str
    run: Callable[[], int] | None
    """Does the work and returns the number of frames or episodes; None: not available on this machine."""
    tidy: Callable[[], object] = _nothing
    """Removes the output of a run; not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Our way and others to do the same work."""

    what: str
    ours: Way
    others: tuple[Way, ...]
    num_units: float
    """Amount of work."""
    unit: str
    """Unit of the work: `frames`, `MB`."""
    clock: Clock = Clock.CPU
    target: float | None = None
    """Ratio that our way should reach, relative to the first of the others."""
    turns_a_round: int = 1
    """More turns for short work whose time varies from run to run, for example because of the page cache."""
    same_pixels: Callable[[], bool] | None = None
    """Tells whether the first of the others gives identical frames; called once, not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row: our rate, another's rate on the same work, and their ratio (above 1: ours is faster)."""

    what: str
    other: str
    unit: str
    """Unit of both rates."""
    our_rate: float
    other_rate: float | None
    """None, like the ratio, if that way is not available on this machine."""
    ratio: float | None
    target: float | None = None
    same_pixels: bool | None = None
    """None if not checked, because another codec or scaler cannot be bit-exact."""

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target was reached, with the same pixels; None without a target."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio >= self.target and self.same_pixels is not False


def run_contest(contest: Contest, *, num_rounds: int) -> list[Measurement]:
    """Measure all ways in turns, after one untimed run of each; the rounds are `num_rounds` x `turns_a_round`.

    Raises:
        RuntimeError: the ways gave different counts, so that they did not do the same work.
    """
    ways = [way for way in (contest.ours, *contest.others) if way.run is not None]
    counts = {way.name: _run(way, contest.clock)[0] for way in ways}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{contest.what}: expected equal counts from all ways, got {counts}")
    same = None if contest.same_pixels is None else contest.same_pixels()
    rounds = [_round(ways, contest.clock, number) for number in range(num_rounds * contest.turns_a_round)]
    first, *rest = [_row(contest, rounds, other) for other in contest.others]
    return [replace(first, target=contest.target, same_pixels=same), *rest]


def _round(ways: Sequence[Way], clock: Clock, number: int) -> Mapping[str, float]:
    """Run each way once, starting with another one each round; returns the seconds by name."""
    turn = number % len(ways)
    return {way.name: _run(way, clock)[1] for way in (*ways[turn:], *ways[:turn])}


def _run(way: Way, clock: Clock) -> tuple[int, float]:
    if way.run is None:
        raise ValueError(f"{way.name} is not available on this machine")
    start_s = clock.now_s()
    count = way.run()
    taken_s = clock.now_s() - start_s
    way.tidy()
    return count, taken_s


def _row(contest: Contest, rounds: Sequence[Mapping[str, float]], other: Way) -> Measurement:
    def rate(way: Way) -> float:
        return contest.num_units / statistics.median(taken_s[way.name] for taken_s in rounds)

    ratios = [taken_s[other.name] / taken_s[contest.ours.name] for taken_s in rounds if other.name in taken_s]
    return Measurement(
        what=contest.what,
        other=other.name,
        unit=f"{contest.unit} per {contest.clock}",
        our_rate=rate(contest.ours),
        other_rate=rate(other) if ratios else None,
        ratio=statistics.median(ratios) if ratios else None,
    )
