"""Hugging Face datasets: Parquet files, memory-mapped as Arrow, with torch's shuffling loader."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from torch.utils.data import DataLoader

from pipelines.bench.loader.pairs import Pairs, Taken
from pipelines.bench.loader.peers.decode import image, vectors

PACKAGE = "datasets"
_COLUMNS = ("first", "future", "action")


def export(pairs: Pairs, out: Path) -> None:
    """Write Parquet files, and open them once to create the Arrow cache."""

    def rows() -> Iterator[dict[str, bytes]]:
        for first, future, action in pairs:
            yield dict(zip(_COLUMNS, (first, future, action.tobytes()), strict=True))

    features = datasets.Features({name: datasets.Value("binary") for name in _COLUMNS})
    made = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(out / "made"))
    made.to_parquet(str(out / "pairs.parquet"))
    shutil.rmtree(out / "made")
    _open(out)


def _open(data: Path) -> Any:
    files = str(data / "pairs.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(data / "cache"))


def _decoded(rows: dict[str, list[bytes]]) -> dict[str, Any]:
    return {
        "first": [image(row) for row in rows["first"]],
        "future": [image(row) for row in rows["future"]],
        "action": [vectors(row) for row in rows["action"]],
    }


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Shuffle all rows."""
    dataset = _open(data).with_transform(_decoded)
    loader = DataLoader(
        dataset, batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0,
    )  # fmt: skip
    while True:
        for batch in loader:
            yield batch["first"], batch["future"], batch["action"]
