"""litdata, with its chunk files, shuffle and loader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.bench.loader.pairs import Pairs, Taken
from pipelines.bench.loader.peers.decode import image, vectors
from pipelines.bench.loader.peers.torchvision_shim import define_missing_operators

define_missing_operators()
from litdata import StreamingDataLoader, StreamingDataset  # noqa: E402 - needs the operators
from litdata.streaming.writer import BinaryWriter  # noqa: E402

PACKAGE = "litdata"


def export(pairs: Pairs, out: Path) -> None:
    """Write one item per pair, with the writer that `litdata.optimize` uses internally."""
    writer = BinaryWriter(str(out), chunk_bytes="64MB")
    for number, (first, future, action) in enumerate(pairs):
        writer.add_item(number, {"first": first, "future": future, "action": action.tobytes()})
    writer.done()
    writer.merge()


def _decoded(sample: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    return image(sample["first"]), image(sample["future"]), vectors(sample["action"])


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Shuffle chunks and the items in them."""
    dataset = StreamingDataset(str(data), shuffle=True, drop_last=True, transform=_decoded)
    loader = StreamingDataLoader(
        dataset, batch_size=batch_size, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    while True:
        yield from loader
