"""mosaicml-streaming, with its MDS shards, shuffle and loader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.bench.loader.pairs import Pairs, Taken
from pipelines.bench.loader.peers.decode import image, vectors
from pipelines.bench.loader.peers.torchvision_shim import define_missing_operators

define_missing_operators()
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset  # noqa: E402 - needs the operators
from streaming.base.util import clean_stale_shared_memory  # noqa: E402

PACKAGE = "mosaicml-streaming"


def export(pairs: Pairs, out: Path) -> None:
    """Write one record per pair."""
    with MDSWriter(out=str(out), columns={"first": "bytes", "future": "bytes", "action": "bytes"}) as writer:
        for first, future, action in pairs:
            writer.write({"first": first, "future": future, "action": action.tobytes()})


class _Decoded(StreamingDataset):  # type: ignore[misc]
    def __getitem__(self, at: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        sample: dict[str, Any] = super().__getitem__(at)
        return image(sample["first"]), image(sample["future"]), vectors(sample["action"])


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Shuffle with its default algorithm."""
    clean_stale_shared_memory()
    dataset = _Decoded(local=str(data), shuffle=True, batch_size=batch_size)
    loader = StreamingDataLoader(
        dataset, batch_size=batch_size, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    while True:
        yield from loader
