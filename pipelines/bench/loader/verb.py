"""`vita-bench loader`: generate data, export it, load it in turns, and open the index."""

import statistics
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from pipelines.bench.build.report import this_machine
from pipelines.bench.build.workload import prepare
from pipelines.bench.loader.clips import write_clips
from pipelines.bench.loader.contestants import Absent, Contestant, built_in, peers, run_module
from pipelines.bench.loader.open_index import WITH_TORCH, IndexFigures
from pipelines.bench.loader.report import LoaderReport
from pipelines.bench.loader.rounds import play
from pipelines.bench.loader.sizes import LoaderSizes
from pipelines.bench.loader.wide_index import write_wide_index


def measure_loader(sizes: LoaderSizes, *, base: Path, environment: Path, tell: Callable[[str], None]) -> LoaderReport:
    """Run all measurements.

    Args:
        sizes: sizes of the benchmark.
        base: folder of generated data.
        environment: virtual environment with the peers; missing peers are absent in the report.
        tell: called with progress messages.

    Raises:
        ContestantError: our loader or plain decoding failed.
    """
    tell("generating clips")
    clips = prepare(base, "loader-clips", sizes.clips, partial(write_clips, spec=sizes.clips))
    tell("exporting them for the peers")
    found = peers(base, clips, sizes, environment)
    contestants = [*built_in(clips, sizes), *(one for one in found if isinstance(one, Contestant))]
    entries, failed = play(contestants, pairs=clips.raw / "pairs", sizes=sizes, tell=tell)
    tell("generating an index")
    wide = prepare(base, "loader-index", sizes.index, partial(write_wide_index, spec=sizes.index))
    tell("opening the index")
    return LoaderReport(
        machine=this_machine(),
        sizes=sizes,
        entries=tuple(entries),
        absent=(*(one for one in found if isinstance(one, Absent)), *failed),
        index=_index_figures(wide.raw, sizes),
        index_torch=_index_figures(wide.raw, sizes, WITH_TORCH),
    )


def _index_figures(shards: Path, sizes: LoaderSizes, *more: str) -> IndexFigures:
    """Open the index in new processes, and take the median of each figure."""
    arguments = [str(shards), str(sizes.index_batch), str(sizes.index_steps), *more]
    program = partial(run_module, Path(sys.executable), "pipelines.bench.loader.open_index", arguments)
    runs = [IndexFigures.from_json(program()) for _ in range(sizes.index_runs)]
    return IndexFigures(
        **{one.name: statistics.median(getattr(run, one.name) for run in runs) for one in fields(IndexFigures)}
    )
