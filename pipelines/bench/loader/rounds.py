"""Run all contestants in turns, so that varying speed of a shared machine affects all of them equally."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.bench.loader.contestants import Absent, Contestant, ContestantError, run_turn
from pipelines.bench.loader.drive import Turn, TurnSpec
from pipelines.bench.loader.sizes import LoaderSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A contestant with a number of workers, and its turns, one per round."""

    contestant: Contestant
    workers: int
    turns: list[Turn] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the contestant, with its number of threads or workers."""
        unit = "workers" if self.contestant.is_peer else "threads"
        return f"{self.contestant.name}, {self.workers} {unit}"

    def median(self, figure: Callable[[Turn], float]) -> float:
        """Give the median over the rounds."""
        return statistics.median(figure(turn) for turn in self.turns)

    def ratio(self, other: "Entry", figure: Callable[[Turn], float]) -> float:
        """Give the median of the rounds' ratios, which varies less than the figures themselves."""
        pairs = zip(self.turns, other.turns, strict=True)
        return statistics.median(figure(mine) / figure(its) for mine, its in pairs)


def play(
    contestants: Sequence[Contestant], *, pairs: Path, sizes: LoaderSizes, tell: Callable[[str], None]
) -> tuple[list[Entry], list[Absent]]:
    """Run all turns, starting with another contestant each round; a peer that fails is removed.

    Raises:
        ContestantError: a lower bound or our loader failed.
    """
    entries = [Entry(contestant=one, workers=workers) for one in contestants for workers in one.workers]
    absent: list[Absent] = []
    for number in range(sizes.num_rounds):
        turn = number % len(entries)
        for entry in (*entries[turn:], *entries[:turn]):
            tell(f"round {number + 1} of {sizes.num_rounds}: {entry.name}")
            spec = TurnSpec(
                workers=entry.workers,
                batch_size=sizes.batch_size,
                num_warm=sizes.num_warm,
                num_batches=sizes.num_batches,
            )
            try:
                entry.turns.append(run_turn(entry.contestant, pairs=pairs, spec=spec))
            except ContestantError as error:
                if not entry.contestant.is_peer:
                    raise
                absent.append(Absent(name=entry.name, why=str(error)))
                entries.remove(entry)
    return entries, absent
