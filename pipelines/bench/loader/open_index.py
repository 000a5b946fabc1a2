"""Measure opening a source with very many clips, and planning batches; a program that runs in its own process.

`python -m pipelines.bench.loader.open_index SHARDS BATCH_SIZE STEPS [torch]` prints one line of JSON.
"""

import importlib
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipelines.bench.loader.wide_index import SOURCE
from vita_data.loader import MixedModalitySampler, Plan
from vita_data.types import Manifest, MixtureEntry, Stage

_STATUS = Path("/proc/self/status")
WITH_TORCH = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFigures:
    """Measurements of one process; memory in units of 10^6 bytes."""

    num_windows: int
    open_s: float
    private_mb: float
    """Private memory of the process (RssAnon) after planning."""
    imports_mb: float
    """Part of it that was used before opening the source."""
    plan_ms: float
    """Median over the batches."""
    worst_plan_ms: float

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the program printed."""
        return cls(**json.loads(text))


def measure_index(shards: Path, *, batch_size: int, num_steps: int) -> IndexFigures:
    """Open the generated source for warmup, and plan batches from all parts of the run."""
    manifest = Manifest(name="wide", entries=(MixtureEntry(source=SOURCE, weight=1.0),), path="wide.toml")
    imports_mb, start_s = private_mb(), time.perf_counter()
    plan = Plan.from_manifest(manifest, shards=str(shards), stage=Stage.WARMUP, batch_size=batch_size)
    sampler = MixedModalitySampler(plan)
    open_s, plan_s = time.perf_counter() - start_s, []
    for number in range(num_steps):
        start_s = time.perf_counter()
        sampler.batch(37 * number)
        plan_s.append(time.perf_counter() - start_s)
    return IndexFigures(
        num_windows=sum(one.pool.num_windows for pools in plan.pools.values() for one in pools),
        open_s=open_s,
        private_mb=private_mb(),
        imports_mb=imports_mb,
        plan_ms=statistics.median(plan_s) * 1e3,
        worst_plan_ms=max(plan_s) * 1e3,
    )


def private_mb() -> float:
    """Read this process's private memory."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Measure and print the figures."""
    shards, batch_size, num_steps, *more = sys.argv[1:]
    if more == [WITH_TORCH]:
        importlib.import_module("vita_data.loader.loader")
    figures = measure_index(Path(shards), batch_size=int(batch_size), num_steps=int(num_steps))
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    main()
