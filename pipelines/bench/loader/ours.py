"""Our loader on the built clips, with the functions that training uses."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.bench.loader.clips import SOURCE
from pipelines.bench.loader.pairs import HORIZON, Taken
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.types import Manifest, MixtureEntry, Stage, Starts, WindowSpec

PACKAGE = "vita-vla"
_WINDOWS = WindowSpec(starts=Starts.ROWS, horizon=HORIZON, futures=1, min_futures=1)


def plan_of(shards: str, *, batch_size: int) -> Plan:
    """Plan fine-tuning batches of the generated clips."""
    manifest = Manifest(name=SOURCE, entries=(MixtureEntry(source=SOURCE, weight=1.0),), path="bench.toml")
    return Plan.from_manifest(manifest, shards=shards, stage=Stage.FINETUNE, batch_size=batch_size, windows=_WINDOWS)


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Load fine-tuning batches of paired windows with `workers` threads, endlessly."""
    with make_loader(plan_of(str(data), batch_size=batch_size), options=LoaderOptions(threads=workers)) as loader:
        for batch in loader:
            if batch.images is None or batch.future is None:
                raise TypeError("expected a paired batch with images, got none")
            yield batch.images[:, 0], batch.future[:, 0], batch.action
