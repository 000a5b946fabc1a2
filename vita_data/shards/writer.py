"""Clips to one shard: a tar and, beside it, its index. Both appear under their final names only when whole."""

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa

from vita_data.shards.schema import CLIP_JSON, INDEX_SCHEMA, MemberRef, clip_members, index_row
from vita_data.shards.tar import END, header, padding
from vita_data.types import Clip, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """What the card says of a committed shard."""

    name: str
    num_clips: int
    num_bytes: int
    sha256: str
    index_sha256: str


def write_atomically(path: Path, data: bytes) -> None:
    """Write a temporary file beside `path`, make it durable and rename it."""
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        commit(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """Name a temporary file in the same folder; the process id keeps two writers of one file apart."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def commit(temporary: Path, path: Path) -> None:
    """Rename a finished temporary file and make the rename durable."""
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_index(path: Path, rows: list[Json]) -> str:
    """Write a shard's Arrow index atomically and return its sha256."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=INDEX_SCHEMA))
    data = sink.getvalue().to_pybytes()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


class ShardWriter:
    """Writes clips of one source and split to `path`; leaving the `with` block without an error commits them.

    A shard without clips writes no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = temporary_beside(path)
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self._rows: list[Json] = []
        self.summary: ShardSummary | None = None
        """Set on commit; None while open, after an error, or for a shard without clips."""

    def __enter__(self) -> Self:
        return self

    def add(self, clip: Clip) -> None:
        """Append a clip's members, adjacent and sorted."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb")  # noqa: SIM115 - closed in __exit__
        refs: dict[str, MemberRef] = {}
        meta: Json = {}
        for name, data in clip_members(clip):
            self._write(header(f"{clip.key}.{name}", len(data)))
            refs[name] = MemberRef(self._offset, len(data), zlib.crc32(data))
            self._write(data)
            self._write(padding(len(data)))
            if name == CLIP_JSON:
                meta = json.loads(data)
        self._rows.append(index_row(clip.key, meta, refs))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self.summary = self._commit(self._file)
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _commit(self, file: BinaryIO) -> ShardSummary:
        self._write(END)
        file.flush()
        os.fsync(file.fileno())
        index_sha256 = write_index(self._path.with_suffix(".arrow"), self._rows)
        commit(self._temporary, self._path)
        return ShardSummary(
            name=self._path.name,
            num_clips=len(self._rows),
            num_bytes=self._offset,
            sha256=self._sha256.hexdigest(),
            index_sha256=index_sha256,
        )

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            self._sha256.update(data)
            self._offset += len(data)
