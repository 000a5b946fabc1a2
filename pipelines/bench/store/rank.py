"""One rank of a run whose steps take a given time: prints how long it waited for data.

    python -m pipelines.bench.store.rank SHARDS '{"rank": 0, "num_ranks": 16, ...}'

It prints a line when its first batch has come, begins with a line on stdin, and then prints its figures.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass

from pipelines.bench.loader.ours import plan_of
from vita_data.loader import LoaderOptions, make_loader

READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSpec:
    """Settings of a rank."""

    rank: int
    num_ranks: int
    batch_size: int
    """Samples of a step, over all ranks."""
    num_steps: int
    step_s: float
    """Time of a step without data."""
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFigures:
    """Measurements of a rank."""

    wall_s: float
    waited_s: float
    cpu_s: float


def run_rank(shards: str, spec: RankSpec) -> RankFigures:
    """Take the batches of some steps, after a line on stdin."""
    plan = plan_of(shards, batch_size=spec.batch_size)
    options = LoaderOptions(threads=spec.threads)
    with make_loader(plan, rank=spec.rank, world_size=spec.num_ranks, options=options) as loader:
        next(loader)
        print(READY, flush=True)
        sys.stdin.readline()
        start_s, cpu_s, waited_s = time.perf_counter(), time.process_time(), 0.0
        for _ in range(spec.num_steps):
            asked_s = time.perf_counter()
            next(loader)
            waited_s += time.perf_counter() - asked_s
            time.sleep(spec.step_s)
        return RankFigures(wall_s=time.perf_counter() - start_s, waited_s=waited_s, cpu_s=time.process_time() - cpu_s)


if __name__ == "__main__":
    print(json.dumps(asdict(run_rank(sys.argv[1], RankSpec(**json.loads(sys.argv[2]))))), flush=True)
    os._exit(0)  # Read-ahead would delay the end.
