"""The list of a built source's raw episodes, `episodes.parquet`: its name and a checked read."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vita_data.errors import ShardError, raise_machine_fault
from vita_data.shards.index import card_sums, read_card
from vita_data.shards.parquet_footer import SNAPPY, UNCOMPRESSED, column_parts
from vita_data.storage.files import MAX_TABLE_BYTES, AnyPath, read_files

EPISODES = "episodes.parquet"
EPISODES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "part", "outcome", "reason", "detail", "clip", "shard", "split")),
        *((name, pa.string()) for name in ("modality", "embodiment", "release")),
        *((name, pa.int64()) for name in ("num_clips", "num_steps", "num_frames")),
    ]
)
"""Its columns, none of which has nulls."""
_TEXTS = [field.name for field in EPISODES_SCHEMA if field.type == pa.string()]
_FEW_ROWS = 100_000
"""This many rows are read from any number of bytes."""
_REPAIR = "run the same build again"


def read_episodes(folder: AnyPath) -> pa.Table:
    """Read the list: one row for each raw episode, stored or not.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list is missing, does not match the card's checksum, or is not such a table.
    """
    path, wanted = folder / EPISODES, card_sums(read_card(folder)).get(EPISODES)
    try:
        data = read_files([path], max_bytes=MAX_TABLE_BYTES)[0]
    except FileNotFoundError:
        raise ShardError(f"{path}: is missing; {_REPAIR}") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ShardError(f"{path}: does not match the card's sha256; {_REPAIR}")
    try:
        return _table(data)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise_machine_fault(error, str(path))
        raise ShardError(f"{path}: expected a table of episodes, cannot be read as one ({error}); {_REPAIR}") from error
    except ValueError as error:
        raise ShardError(f"{path}: {error}; {_REPAIR}") from error


def _table(data: bytes) -> pa.Table:
    """Read a table of a stranger, in which a few bytes may stand for gigabytes of the same text.

    Raises:
        ValueError: it is not a table that a build writes.
        pa.ArrowException, OSError: it is not a table.
    """
    for part in column_parts(data):
        # Snappy packs at most 21 to 1, zstandard tens of thousands to 1.
        if part.codec not in (UNCOMPRESSED, SNAPPY) or part.num_values != part.num_rows:
            raise ValueError("its columns are not packed as a build packs them")
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    _require_form(metadata, len(data))
    # Texts stay in dictionaries, each once, until their lengths have been added up. `pq.read_table` reads a buffer in
    # threads of its own; one that still frees a Python object while the interpreter ends aborts the process.
    file = pq.ParquetFile(pa.BufferReader(data), metadata=metadata, read_dictionary=_TEXTS)
    table = file.read(EPISODES_SCHEMA.names, use_threads=False)
    for name in table.column_names:
        if nulls := table[name].null_count:
            raise ValueError(f"column {name}: expected no nulls, found {nulls}")
    if (num_bytes := sum(_text_bytes(table[name]) for name in _TEXTS)) > MAX_TABLE_BYTES:
        raise ValueError(f"expected at most {MAX_TABLE_BYTES} bytes of text, found {num_bytes}")
    return table.select(EPISODES_SCHEMA.names).cast(EPISODES_SCHEMA)


def _require_form(metadata: pq.FileMetaData, num_bytes: int) -> None:
    """Check columns and rows before anything is unpacked.

    Raises:
        ValueError: the columns differ, or have more rows than fit.
    """
    found = metadata.schema.to_arrow_schema()
    for field in EPISODES_SCHEMA:
        if (count := found.names.count(field.name)) != 1:
            raise ValueError(f"has {count or 'no'} column {field.name}")
        if found.field(field.name).type != field.type:
            raise ValueError(f"column {field.name}: expected {field.type}, found {found.field(field.name).type}")
    if metadata.num_rows > max(num_bytes, _FEW_ROWS):
        raise ValueError(f"expected at most one row for each of {num_bytes} bytes, found {metadata.num_rows}")


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Add up the lengths of all texts of a column of dictionaries."""
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )
