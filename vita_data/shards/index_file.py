"""Opens a shard's index, an Arrow file that may come from a stranger."""

import hashlib
import struct
from itertools import islice
from pathlib import Path

import pyarrow as pa

from vita_data.errors import ShardError, raise_machine_fault
from vita_data.shards.index_values import index_fault
from vita_data.shards.schema import INDEX_SCHEMA
from vita_data.storage.files import MAX_TABLE_BYTES, AnyPath, read_files

_MAGIC = b"ARROW1\0\0"
"""Start of an Arrow file; the same messages follow as in a stream, and then a directory that is not needed."""
_HEADER, _COMPRESSION = 2, 3
"""Numbers of the fields of a message and of a batch of rows, from Arrow's `Message.fbs`."""


def open_index(path: AnyPath, *, sha256: str) -> pa.Table:
    """Memory-map a shard's index.

    Its checksum and its offsets are verified first: Arrow trusts what it reads, so a wrong offset could crash the
    process.

    Raises:
        ShardError: the file is missing, does not match its checksum, or is not an index of this version.
        StorageError: it cannot be opened because of missing permissions or a fault of the disk.
    """
    try:
        (data,) = read_files([path], max_bytes=MAX_TABLE_BYTES)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ShardError(f"index {path}: does not match the card's sha256; remove it and run the same build again")
        table = _table(path, pa.py_buffer(data))
        # The checksum is only as good as the card: a stranger may have written both.
        table.validate(full=True)
        if fault := index_fault(table):
            raise ShardError(f"index {path}: {fault}; build the source again, or get it from whoever built it")
        return _mapped(path) if isinstance(path, Path) else table
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise_machine_fault(error, f"index {path}")
        raise ShardError(f"index {path}: cannot be opened ({error}); run the same build again") from error


def _mapped(path: Path) -> pa.Table:
    """Map an index that was checked: pages that only the checks needed do not stay in memory."""
    # The table keeps the mapping alive; thousands of shards must not keep thousands of file handles open.
    with pa.memory_map(str(path)) as held:
        return _table(path, held.read_buffer())


def _table(path: AnyPath, data: pa.Buffer) -> pa.Table:
    """Lay a table over the bytes of an index; none of them is copied.

    Raises:
        ShardError: its columns are not those of this version, or are compressed.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise pa.ArrowInvalid("not an Arrow file")
    stream = data.slice(len(_MAGIC))
    # `pa.ipc.read_schema` crashes on a message of another kind.
    if pa.ipc.open_stream(stream).schema != INDEX_SCHEMA:
        raise ShardError(f"index {path}: its columns differ from those of this version; build the source again")
    batches = []
    for message in islice(pa.ipc.MessageReader.open_stream(stream), 1, None):
        if message.type != "record batch":
            raise pa.ArrowInvalid(f"expected rows, found a message of kind {message.type!r}")
        if _is_compressed(message):
            # No build compresses an index; a few bytes of a stranger's could become gigabytes.
            raise ShardError(f"index {path}: expected plain columns, found compressed ones; build the source again")
        batches.append(pa.ipc.read_record_batch(message, INDEX_SCHEMA))
    return pa.Table.from_batches(batches, INDEX_SCHEMA)


def _is_compressed(message: pa.Message) -> bool:
    """Tell whether a batch of rows is compressed, which pyarrow tells only by decompressing it."""
    metadata = message.metadata.to_pybytes()  # verified by Arrow when it read the message
    root: int = struct.unpack_from("<I", metadata)[0]
    header = root + (place := _field(metadata, root, _HEADER))
    header += struct.unpack_from("<I", metadata, header)[0]
    return bool(place) and bool(_field(metadata, header, _COMPRESSION))


def _field(metadata: bytes, table: int, number: int) -> int:
    """Return the place of a field of a FlatBuffers table, from the table's own; 0 if it has none."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    (size,) = struct.unpack_from("<H", metadata, fields)
    slot = 4 + 2 * number
    return int(struct.unpack_from("<H", metadata, fields + slot)[0]) if slot < size else 0
