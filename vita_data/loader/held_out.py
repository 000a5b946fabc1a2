"""The same mixture on another split: what a result is measured on."""

from dataclasses import replace

from vita_data.errors import ManifestError
from vita_data.shards.index import open_source
from vita_data.storage import AnyPath, open_path
from vita_data.types import Manifest, Split


def held_out(manifest: Manifest, shards: str | AnyPath, split: Split) -> Manifest:
    """Move a mixture to a split; sources that have no clip there are left out, and `fraction` is all of it.

    Raises:
        ManifestError: no source has a clip there.
    """
    folder = open_path(shards) if isinstance(shards, str) else shards
    kept = tuple(
        replace(entry, split=split, fraction=1.0)
        for entry in manifest.entries
        if open_source(folder / entry.source, split).table.num_rows
    )
    if not kept:
        names = ", ".join(entry.source for entry in manifest.entries)
        raise ManifestError(f"manifest {manifest.path}: none of {names} has a clip in split {split}; name another one")
    return replace(manifest, entries=kept)
