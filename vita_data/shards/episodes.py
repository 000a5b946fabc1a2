"""The list of a built source's raw episodes, `episodes.parquet`: its name and a checked read."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.errors import ShardError
from vita_data.shards.index import card_sums, read_card
from vita_data.storage.files import AnyPath, read_files

EPISODES = "episodes.parquet"
EPISODES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "part", "outcome", "reason", "detail", "clip", "shard", "split")),
        *((name, pa.string()) for name in ("modality", "embodiment", "release")),
        *((name, pa.int64()) for name in ("num_clips", "num_steps", "num_frames")),
    ]
)
"""Its columns, none of which has nulls."""
_REPAIR = "run the same build again"


def read_episodes(folder: AnyPath) -> pa.Table:
    """Read the list: one row for each raw episode, stored or not.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list is missing, does not match the card's checksum, or is not such a table.
    """
    path, wanted = folder / EPISODES, card_sums(read_card(folder)).get(EPISODES)
    try:
        data = read_files([path])[0]
    except FileNotFoundError:
        raise ShardError(f"{path}: is missing; {_REPAIR}") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ShardError(f"{path}: does not match the card's sha256; {_REPAIR}")
    try:
        # `pq.read_table` reads a buffer in threads of its own; one that still frees a Python object while the
        # interpreter ends aborts the process.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ShardError(f"{path}: expected a table of episodes, cannot be read as one ({error}); {_REPAIR}") from error
    if fault := _column_fault(table):
        raise ShardError(f"{path}: {fault}; {_REPAIR}")
    return table


def _column_fault(table: pa.Table) -> str:
    """Describe the first column that is not as a build writes it; empty if all are."""
    for field in EPISODES_SCHEMA:
        if field.name not in table.column_names:
            return f"has no column {field.name}"
        found = table[field.name]
        if found.type != field.type or found.null_count:
            return f"column {field.name}: expected {field.type}, found {found.type} with {found.null_count} nulls"
    return ""
