"""Megatron-Energon: webdataset tars indexed by `energon prepare`, with its shuffle and loader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_savable_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.flavors.webdataset import BaseWebdatasetFactory

from pipelines.bench.loader.pairs import Pairs, Taken
from pipelines.bench.loader.peers import webdataset
from pipelines.bench.loader.peers.decode import image, vectors

PACKAGE = "megatron-energon"
_SHUFFLE = 500
_SEQUENCE = 100
"""Number of consecutive samples that a worker reads; the value is from its documentation."""


def export(pairs: Pairs, out: Path) -> None:
    """Write the same tars as for webdataset, and prepare them."""
    webdataset.export(pairs, out)
    shards = sorted(path.name for path in out.glob("*.tar"))
    BaseWebdatasetFactory.prepare_dataset(out, shards, split_parts_ratio=[("train", 1.0)], workers=1)
    (out / ".nv-meta" / "dataset.yaml").write_text("__module__: megatron.energon\n__class__: CrudeWebdataset\n")


@edataclass
class _Pair(Sample):  # type: ignore[misc]
    first: torch.Tensor
    future: torch.Tensor
    action: torch.Tensor


@stateless  # type: ignore[untyped-decorator]
def _decoded(sample: dict[str, Any]) -> _Pair:
    parts = {name: torch.from_numpy(image(sample[f"{name}.jpg"])) for name in ("first", "future")}
    action = torch.from_numpy(np.asarray(vectors(sample["action.bin"])))
    return _Pair(**basic_sample_keys(sample), **parts, action=action)


class _Encoder(DefaultTaskEncoder):  # type: ignore[misc]
    cookers = (Cooker(_decoded),)
    decoder = None


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Shuffle with its slices and a buffer; its training datasets are endless."""
    dataset = get_train_dataset(
        data,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=workers),
        batch_size=batch_size,
        shuffle_buffer_size=_SHUFFLE,
        max_samples_per_sequence=_SEQUENCE,
        task_encoder=_Encoder(),
    )
    for batch in get_savable_loader(dataset):
        yield batch.first, batch.future, batch.action
