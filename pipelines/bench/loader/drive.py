"""Run one contestant in its own process, with the Python of its environment: export its data, or take a timed turn.

    python -m pipelines.bench.loader.drive export CONTESTANT PAIRS OUT
    python -m pipelines.bench.loader.drive turn CONTESTANT PAIRS DATA '{"workers": 0, ...}'

It prints one line of JSON; output of libraries goes to stderr. It only imports what every environment has.
"""

import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from pipelines.bench.loader.cpu import cpu_seconds
from pipelines.bench.loader.pairs import Taken, open_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSpec:
    """Settings of a turn."""

    workers: int
    """Threads of our loader, or worker processes of peers."""
    batch_size: int
    num_warm: int
    num_batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Measurements of a turn."""

    version: str
    start_s: float
    """Time from the first import to the first batch."""
    num_samples: int
    cpu_s: float
    """CPU time of the process and all its descendants."""
    wall_s: float

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the program's output."""
        return cls(**json.loads(text))

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per sample."""
        return 1e3 * self.cpu_s / self.num_samples

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.num_samples / self.wall_s


def take_turn(contestant: str, *, pairs: Path, data: Path, spec: TurnSpec) -> Turn:
    """Load batches; the first one is verified against the pairs, and warm-up batches are not counted.

    Args:
        contestant: module and function, such as `limit:batches`.
        pairs: folder of the neutral samples.
        data: folder of the contestant's data.
        spec: settings of the turn.
    """
    start_s = time.perf_counter()
    module_name, _, function = contestant.partition(":")
    module = importlib.import_module(f"pipelines.bench.loader.{module_name}")
    batches: Iterator[Taken] = getattr(module, function)(data, workers=spec.workers, batch_size=spec.batch_size)
    first = next(batches)
    ready_s = time.perf_counter() - start_s
    open_pairs(pairs).check(first)
    del first
    for _ in range(spec.num_warm):
        _size(next(batches))
    cpu_s, wall_s, num_samples = cpu_seconds(), time.perf_counter(), 0
    for _ in range(spec.num_batches):
        num_samples += _size(next(batches))
    wall_s, cpu_s = time.perf_counter() - wall_s, cpu_seconds() - cpu_s
    return Turn(version=version(module.PACKAGE), start_s=ready_s, num_samples=num_samples, cpu_s=cpu_s, wall_s=wall_s)


def _size(taken: Taken) -> int:
    first, future, action = taken
    if not len(first) == len(future) == len(action):
        raise ValueError("expected batch members of equal length, got different lengths")
    return len(first)


def main() -> None:
    """Export or take a turn."""
    # Redirect stdout, because libraries may print to it.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    verb, contestant, pairs, data, *more = sys.argv[1:]
    if verb == "export":
        module = importlib.import_module(f"pipelines.bench.loader.{contestant.partition(':')[0]}")
        module.export(open_pairs(Path(pairs)), Path(data))
        answer.write(json.dumps({"version": version(module.PACKAGE)}) + "\n")
    else:
        turn = take_turn(contestant, pairs=Path(pairs), data=Path(data), spec=TurnSpec(**json.loads(more[0])))
        answer.write(json.dumps(asdict(turn)) + "\n")
    answer.flush()
    # Workers of an endless loader would run into the next turn, and exiting would wait for threads.
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
