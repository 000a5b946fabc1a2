"""Seeds of episodes; demonstrations and evaluations never share seeds."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRange:
    """Seeds from `first` to `first + most_runs * most_episodes`; run r uses the r-th block of `most_episodes`."""

    first: int
    most_runs: int = 100
    most_episodes: int = 10_000


DEMONSTRATIONS = SeedRange(first=0)
EVALUATIONS = SeedRange(first=1_000_000)


def episode_seeds(block: SeedRange, run: int) -> Iterator[int]:
    """Yield the seeds of a run's episodes."""
    start = block.first + run * block.most_episodes
    yield from range(start, start + block.most_episodes)
