"""A turn: what is counted, and that every contestant of ours loads the pairs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.build.workload import Workload
from pipelines.bench.loader import limit
from pipelines.bench.loader.drive import Turn, TurnSpec, take_turn
from pipelines.bench.loader.pairs import Taken

_SPEC = TurnSpec(workers=2, batch_size=4, num_warm=1, num_batches=3)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("contestant", "data"), [("limit:batches", "pairs"), ("limit:read_batches", "pairs"), ("ours:batches", "shards")]
)
def test_a_turn_counts_its_batches(clips: Workload, contestant: str, data: str, workers: int) -> None:
    spec = replace(_SPEC, workers=workers)

    turn = take_turn(contestant, pairs=clips.raw / "pairs", data=clips.raw / data, spec=spec)

    assert turn.num_samples == 12
    assert turn.cpu_s > 0
    assert turn.wall_s > 0


def test_a_turn_with_other_pixels_is_refused(clips: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    right = limit.batches

    def swapped(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
        for first, future, action in right(data, workers=workers, batch_size=batch_size):
            yield future, first, action

    monkeypatch.setattr(limit, "batches", swapped)

    with pytest.raises(ValueError, match="expected the two frames of a pair"):
        take_turn("limit:batches", pairs=clips.raw / "pairs", data=clips.raw / "pairs", spec=_SPEC)


def test_figures_are_per_sample() -> None:
    turn = Turn(version="1", start_s=0.1, num_samples=100, cpu_s=0.05, wall_s=0.2)

    assert turn.cpu_ms == pytest.approx(0.5)
    assert turn.rate == pytest.approx(500)
