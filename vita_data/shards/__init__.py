"""Writes clips to tar shards and reads them back, with their indexes, statistics and checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.shards.clip_fields import CLIP_JSON, DEPTH
from vita_data.shards.index import open_source
from vita_data.shards.schema import ACTION_NPY, STATE_NPY, frame_name
from vita_data.types import Split

if TYPE_CHECKING:
    import datasets


def hf_features(folder: str | Path) -> datasets.Features:
    """Return the union of a built source's members as features for `datasets.load_dataset("webdataset", ...)`.

    Without these features, that library refuses clips of different lengths. Needs the `datasets` package.

    Raises:
        ManifestError: the source has not been built in `folder`.
    """
    import datasets

    numbers = datasets.List(datasets.List(datasets.Value("float32")))
    features: dict[str, object] = {CLIP_JSON: datasets.Json()}
    for split in Split:
        index = open_source(Path(folder), split)
        for member in (ACTION_NPY, STATE_NPY):
            if index.table.num_rows > index.table.column(member.removesuffix(".npy")).null_count:
                features[member] = numbers
        for frames in index.table.column("frames").to_pylist():
            for frame in frames:
                kind = numbers if frame["camera"].startswith(DEPTH) else datasets.Image()
                features[frame_name(frame["camera"], frame["step"])] = kind
    return datasets.Features({**features, "__key__": datasets.Value("string"), "__url__": datasets.Value("string")})
