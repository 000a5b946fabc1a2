"""Removes sources from a mixture that have no clips for it: on another split, or for batches that need actions."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow.compute as pc

from vita_data.errors import ManifestError
from vita_data.loader.order.pool import shards_advice
from vita_data.shards.index import open_source
from vita_data.storage.files import AnyPath, open_path
from vita_data.types import Manifest, MixtureEntry, Modality, Split


def held_out(manifest: Manifest, shards: str | AnyPath, split: Split) -> Manifest:
    """Move a mixture to a split and use the whole split, whatever its `fraction`.

    Raises:
        ManifestError: no source has a clip in the split.
    """
    folder = open_path(shards) if isinstance(shards, str) else shards
    moved = replace(manifest, entries=tuple(replace(entry, split=split, fraction=1.0) for entry in manifest.entries))

    def num_clips(entry: MixtureEntry) -> int:
        with shards_advice(moved, entry, folder):
            return int(open_source(folder / entry.source, split).table.num_rows)

    return _kept(moved, num_clips, f"a clip in {split}")


def only_paired(manifest: Manifest, shards: str | AnyPath) -> Manifest:
    """Remove sources without actions.

    Raises:
        ManifestError: no source has actions.
    """
    folder = open_path(shards) if isinstance(shards, str) else shards

    def num_paired(entry: MixtureEntry) -> int:
        with shards_advice(manifest, entry, folder):
            modality = open_source(folder / entry.source, entry.split).table.column("modality")
        return int(pc.sum(pc.equal(modality, str(Modality.PAIRED))).as_py() or 0)

    return _kept(manifest, num_paired, "a paired clip")


def _kept(manifest: Manifest, count: Callable[[MixtureEntry], int], what: str) -> Manifest:
    kept = tuple(entry for entry in manifest.entries if count(entry))
    if not kept:
        names = ", ".join(entry.source for entry in manifest.entries)
        raise ManifestError(f"manifest {manifest.path}: none of {names} has {what}")
    return replace(manifest, entries=kept)
