"""Turns: their order, a peer that fails, and ours that must not."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.loader import rounds
from pipelines.bench.loader.contestants import Contestant, ContestantError
from pipelines.bench.loader.drive import Turn, TurnSpec
from pipelines.bench.loader.rounds import Entry, play
from pipelines.bench.loader.sizes import QUICK

_SIZES = replace(QUICK, num_rounds=3)


def _contestant(name: str, *workers: int, is_peer: bool = False) -> Contestant:
    return Contestant(
        name=name, module=name, python=Path("python"), data=Path("data"), num_bytes=1, workers=workers, is_peer=is_peer
    )


def _turn(cpu_s: float) -> Turn:
    return Turn(version="1", start_s=1.0, num_samples=1000, cpu_s=cpu_s, wall_s=1.0)


def _log(monkeypatch: pytest.MonkeyPatch, *, failing: str = "") -> list[str]:
    order: list[str] = []

    def run_turn(contestant: Contestant, *, pairs: Path, spec: TurnSpec) -> Turn:
        order.append(f"{contestant.name}{spec.workers}")
        if order[-1] == failing:
            raise ContestantError("it broke")
        return _turn(1.0)

    monkeypatch.setattr(rounds, "run_turn", run_turn)
    return order


def _ignore(what: str) -> None:
    return


def test_another_one_is_first_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order = _log(monkeypatch)

    entries, absent = play([_contestant("a", 1, 2), _contestant("b", 0)], pairs=Path(), sizes=_SIZES, tell=_ignore)

    assert [order[first : first + 3] for first in range(0, 9, 3)] == [
        ["a1", "a2", "b0"], ["a2", "b0", "a1"], ["b0", "a1", "a2"],
    ]  # fmt: skip
    assert [len(entry.turns) for entry in entries] == [3, 3, 3]
    assert absent == []


def test_a_peer_that_fails_is_absent_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    order = _log(monkeypatch, failing="b2")
    contestants = [_contestant("a", 1), _contestant("b", 0, 2, is_peer=True)]

    entries, absent = play(contestants, pairs=Path(), sizes=_SIZES, tell=_ignore)

    assert [(one.name, one.why) for one in absent] == [("b, 2 workers", "it broke")]
    assert [entry.name for entry in entries] == ["a, 1 threads", "b, 0 workers"]
    assert order.count("b2") == 1


def test_ours_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    _log(monkeypatch, failing="a1")

    with pytest.raises(ContestantError, match="it broke"):
        play([_contestant("a", 1)], pairs=Path(), sizes=_SIZES, tell=_ignore)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    mine = Entry(contestant=_contestant("a"), workers=1, turns=[_turn(1), _turn(10), _turn(2)])
    its = Entry(contestant=_contestant("b"), workers=1, turns=[_turn(2), _turn(20), _turn(1)])

    assert mine.ratio(its, lambda turn: turn.cpu_ms) == 0.5
