"""webdataset: plain tars of pairs, with its shard and sample shuffles and its loader."""

from collections.abc import Iterator
from pathlib import Path

import webdataset

from pipelines.bench.loader.pairs import Pairs, Taken
from pipelines.bench.loader.peers.decode import image, vectors

PACKAGE = "webdataset"
_SHARDS = 16
_SHUFFLE = 500


def export(pairs: Pairs, out: Path) -> None:
    """Write one tar sample per pair."""
    with webdataset.ShardWriter(str(out / "pairs-%06d.tar"), maxcount=-(-len(pairs) // _SHARDS), verbose=0) as writer:
        for number, (first, future, action) in enumerate(pairs):
            key = f"{number:08d}"
            writer.write({"__key__": key, "first.jpg": first, "future.jpg": future, "action.bin": action.tobytes()})


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Shuffle shards, then samples in a buffer."""
    urls = sorted(str(path) for path in data.glob("*.tar"))
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0)
        .shuffle(_SHUFFLE)
        .to_tuple("first.jpg", "future.jpg", "action.bin")
        .map_tuple(image, image, vectors)
        .batched(batch_size, partial=False)
        .repeat()
    )
    yield from webdataset.WebLoader(dataset, batch_size=None, num_workers=workers)
