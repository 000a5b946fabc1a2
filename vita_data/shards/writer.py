"""Writes clips to one shard: a tar and, beside it, its index. Both get their final names only when complete."""

import hashlib
import json
import os
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa
from isal.isal_zlib import crc32

from vita_data.errors import FIX_THAT, StorageError
from vita_data.shards.clip_fields import CLIP_JSON
from vita_data.shards.schema import INDEX_SCHEMA, MemberRef, clip_members, index_row
from vita_data.shards.tar import END, header, padding
from vita_data.storage.files import AnyPath, describe_fault, hold, make_folder, publish, temporary_for, write_atomically
from vita_data.types import Clip, Json

_CHUNK = 1 << 20
"""Bytes passed to the hash and the disk at once: a shard has tens of thousands of members, and each call costs time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """The card's facts about a committed shard."""

    name: str
    num_clips: int
    num_bytes: int
    sha256: str
    index_sha256: str


def write_index(path: AnyPath, rows: list[Json]) -> str:
    """Write a shard's Arrow index atomically and return its sha256."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=INDEX_SCHEMA))
    data = sink.getvalue().to_pybytes()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardMark:
    """A position in a shard that is being written."""

    offset: int
    num_clips: int
    sha256: "hashlib._Hash"


class ShardWriter:
    """Writes clips of one source and split to `path`; leaving the `with` block without an error commits them.

    A shard without clips writes no file. Until the commit, all bytes are in a local temporary file: beside the shard on
    a disk, in TMPDIR for an object store.
    """

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._temporary = temporary_for(path)
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self._rows: list[Json] = []
        self.summary: ShardSummary | None = None
        """Set on commit; None while open, after an error, or for a shard without clips."""

    def __enter__(self) -> Self:
        return self

    def add(self, clip: Clip) -> None:
        """Append a clip's members, adjacent and sorted.

        Raises:
            StorageError: the disk is full or missing.
        """
        try:
            self._add(clip)
        except OSError as error:
            raise StorageError(
                f"shard {self._path}: cannot be written ({describe_fault(error)}); {FIX_THAT}"
            ) from error

    def _add(self, clip: Clip) -> None:
        if self._file is None:
            make_folder(self._path.parent)
            self._file = open(self._temporary, "wb", buffering=_CHUNK)  # noqa: SIM115 - closed in __exit__
            hold(self._file)
        refs: dict[str, MemberRef] = {}
        meta: Json = {}
        pieces: list[bytes] = []
        offset = self._offset
        for name, data in clip_members(clip):
            head, tail = header(f"{clip.key}.{name}", len(data)), padding(len(data))
            refs[name] = MemberRef(offset + len(head), len(data), crc32(data))
            pieces += (head, data, tail)
            offset += len(head) + len(data) + len(tail)
            if offset - self._offset >= _CHUNK:
                self._write(b"".join(pieces))
                pieces.clear()
            if name == CLIP_JSON:
                meta = json.loads(data)
        self._write(b"".join(pieces))
        self._rows.append(index_row(clip.key, meta, refs))

    def mark(self) -> ShardMark:
        """Remember the current position, so that later writes can be undone."""
        return ShardMark(self._offset, len(self._rows), self._sha256.copy())

    def take_back(self, mark: ShardMark) -> None:
        """Undo everything that was added after `mark`: an episode that is dropped halfway leaves nothing."""
        if self._file is not None and self._offset != mark.offset:
            self._file.seek(mark.offset)
            self._file.truncate()
        self._offset, self._sha256 = mark.offset, mark.sha256.copy()
        del self._rows[mark.num_clips :]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            if kind is None and self._rows:
                self.summary = self._commit(self._file)
        finally:
            self._close(self._file)

    def _close(self, file: BinaryIO) -> None:
        try:
            file.close()
        except OSError:
            # A full disk refuses the last buffered bytes again; the first error is already being raised.
            if self.summary is not None:
                raise
        finally:
            self._temporary.unlink(missing_ok=True)

    def _commit(self, file: BinaryIO) -> ShardSummary:
        self._write(END)
        file.flush()
        os.fsync(file.fileno())
        index_sha256 = write_index(self._path.with_suffix(".arrow"), self._rows)
        publish(self._temporary, self._path)
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
