"""Contests: turns, ratios of rounds, what is absent, and work that is not the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.bench.build import measure
from pipelines.bench.build.measure import Clock, Contest, Measurement, Way, run_contest


class _Log:
    """Ways whose runs take the seconds they are told to on a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.now_s = 0.0
        monkeypatch.setattr(Clock, "now_s", lambda clock: self.now_s)

    def way(self, name: str, *seconds: float, count: int = 7) -> Way:
        left = list(seconds)
        return Way(name=name, run=self._runs(name, left, count), tidy=lambda: self._tidy(name))

    def _runs(self, name: str, left: list[float], count: int) -> Callable[[], int]:
        def run() -> int:
            self.order.append(name)
            self.now_s += left.pop(0)
            return count

        return run

    def _tidy(self, name: str) -> None:
        self.order.append(f"tidy {name}")
        self.now_s += 1000.0


def _contest(ours: Way, *others: Way) -> Contest:
    return Contest(what="w", ours=ours, others=others, num_units=60.0, unit="frames", target=0.9)


def test_ways_take_turns_after_a_run_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)

    run_contest(_contest(log.way("a", 9, 1, 1), log.way("b", 9, 1, 1)), num_rounds=2)

    assert [name for name in log.order if not name.startswith("tidy")] == ["a", "b", "a", "b", "b", "a"]
    assert log.order[1::2] == [f"tidy {name}" for name in log.order[::2]]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)

    (row,) = run_contest(_contest(log.way("a", 9, 1, 10, 2), log.way("b", 9, 2, 20, 1)), num_rounds=3)

    assert row.ratio == 2.0
    assert (row.our_rate, row.other_rate, row.unit) == (30.0, 30.0, "frames per CPU second")
    assert row.is_met is True


def test_tidying_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)

    (row,) = run_contest(_contest(log.way("a", 1, 1), log.way("b", 1, 3)), num_rounds=1)

    assert row.our_rate == 60.0


def test_a_way_that_is_absent_has_a_row_without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)

    absent, other = run_contest(
        _contest(log.way("a", 1, 1), Way(name="absent", run=None), log.way("b", 1, 4)), num_rounds=1
    )

    assert (absent.other, absent.other_rate, absent.ratio, absent.is_met) == ("absent", None, None, None)
    assert (other.other, other.ratio, other.target) == ("b", 4.0, None)


def test_unequal_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)

    with pytest.raises(RuntimeError, match=r"w: expected equal counts from all ways, got \{'a': 7, 'b': 6\}"):
        run_contest(_contest(log.way("a", 1, 1), log.way("b", 1, 1, count=6)), num_rounds=1)


def test_other_pixels_miss_the_target_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(monkeypatch)
    contest = replace(_contest(log.way("a", 1, 1), log.way("b", 1, 5)), same_pixels=lambda: False)

    (row,) = run_contest(contest, num_rounds=1)

    assert (row.ratio, row.same_pixels, row.is_met) == (5.0, False, False)


@pytest.mark.parametrize(("ratio", "is_met"), [(0.9, True), (0.89, False)])
def test_a_target_is_met_from_its_value_on(ratio: float, is_met: bool) -> None:
    row = Measurement(what="w", other="o", unit="u", our_rate=1.0, other_rate=1.0, ratio=ratio, target=0.9)

    assert row.is_met is is_met


def test_the_cpu_clock_counts_children_that_ended() -> None:
    import multiprocessing

    start_s = Clock.CPU.now_s()
    process = multiprocessing.get_context("spawn").Process(target=measure.Clock.WALL.now_s)
    process.start()
    process.join()

    # a new interpreter and its imports cost far more than starting it costs here
    assert process.exitcode == 0
    assert Clock.CPU.now_s() - start_s > 0.02
