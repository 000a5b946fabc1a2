"""The two functions that most Python users need: open a built source, open a loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.dataset import BuiltSource, split_named
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.manifest import as_manifest
from vita_data.storage.files import address_text
from vita_data.types import Manifest, Split, Stage, WindowSpec

if TYPE_CHECKING:
    from vita_data.loader.loader import Loader


def open_source(folder: str | Path, *, split: Split | str = Split.TRAIN) -> BuiltSource:
    """Open a built source: `len`, iteration, clips by number or key, tables.

    Args:
        folder: `--out` of the build plus the source's name; a folder or an `s3://` address.
        split: train or val.

    Raises:
        ManifestError: the source has not been built in the folder.
        RequestError: the folder is no path, or the split is neither train nor val.
        ShardError: a shard or index is missing or damaged.
    """
    return BuiltSource(address_text("folder", folder), split=split)


def open_loader(
    mixture: str | Path | Manifest | Sequence[str] | Mapping[str, float],
    *,
    shards: str | Path,
    stage: Stage | str = Stage.COTRAIN,
    batch_size: int | Mapping[str, int] = 32,
    windows: WindowSpec | None = None,
    split: Split | str | None = None,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    options: LoaderOptions | None = None,
    joints: bool = False,
) -> Loader:
    """Open an endless iterator of batches.

    Args:
        mixture: path or name of a manifest (`toy`), names of built sources (drawn in proportion to their windows), or
            names with weights.
        shards: the folder with the built sources, or its `s3://` address.
        stage: which modalities, sources and windows are used (vita_data/README.md).
        batch_size: samples of all ranks together; one number, or one per modality.
        windows: how samples are cut; None: the stage's windows.
        split: train or val of every source; None: what the manifest says, train if it says nothing.
        seed: another seed gives another order with the same proportions.
        rank: which slice of each batch this process gets.
        world_size: how many processes share a batch.
        options: threads, read-ahead, object stores.
        joints: actions include the joint targets: [B, H, 28] instead of [B, H, 14].

    Raises:
        ManifestError: a source is not built, or has no window in this stage.
        MissingExtraError: torch is not installed.
        RequestError: stage, split, batch size, windows, seed, rank or another argument cannot be used.
    """
    manifest = as_manifest(mixture)
    if split is not None:
        entries = tuple(replace(entry, split=split_named(split)) for entry in manifest.entries)
        manifest = replace(manifest, entries=entries)
    plan = Plan.from_manifest(
        manifest,
        shards=address_text("shards", shards),
        stage=stage,
        batch_size=batch_size,
        seed=seed,
        windows=windows,
        joints=joints,
    )
    return make_loader(plan, rank=rank, world_size=world_size, options=options)
