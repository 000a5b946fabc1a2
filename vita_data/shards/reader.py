"""Checked positional reads from shards: every read compares crc32, so damage is an error and never a sample."""

import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vita_data.errors import ShardError
from vita_data.shards.schema import MemberRef
from vita_data.storage import AnyPath, describe_fault, read_ranges


class ShardFiles:
    """File handles of shards, opened lazily, one a shard and process; safe to share between threads."""

    def __init__(self, *, max_open: int = 512) -> None:
        self._max_open = max_open
        self._lock = threading.Lock()
        self._handles: dict[tuple[int, Path], int] = {}

    def read(self, shard: AnyPath, ref: MemberRef, *, clip: str, member: str) -> bytes:
        """Read one member.

        Raises:
            ShardError: the shard cannot be opened, ends early, or the bytes do not match crc32.
            StorageError: an object store does not answer.
        """
        return self.read_many(shard, {member: ref}, clip=clip)[member]

    def read_many(self, shard: AnyPath, refs: Mapping[str, MemberRef], *, clip: str) -> dict[str, bytes]:
        """Read members of one clip, on an object store side by side.

        Raises:
            ShardError: as `read`.
            StorageError: as `read`.
        """
        try:
            found = self._ranges(shard, list(refs.values()))
        except OSError as error:
            where = f"shard {shard}, clip {clip}, member {' '.join(refs)}"
            raise ShardError(f"{where}: cannot be read ({describe_fault(error)})") from error
        for (member, ref), data in zip(refs.items(), found, strict=True):
            if len(data) != ref.size or zlib.crc32(data) != ref.crc32:
                raise ShardError(
                    f"shard {shard}, clip {clip}, member {member}: {ref.size} bytes at {ref.offset} do not match "
                    "crc32; restore the shard, or remove it and run the same build again"
                )
        return dict(zip(refs, found, strict=True))

    def _ranges(self, shard: AnyPath, refs: Sequence[MemberRef]) -> list[bytes]:
        if not isinstance(shard, Path):
            return read_ranges(shard, [(ref.offset, ref.size) for ref in refs])
        with self._lock:
            handle = os.dup(self._handle(shard))
        try:
            return [os.pread(handle, ref.size, ref.offset) for ref in refs]
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close this process's handles."""
        with self._lock:
            for (pid, _), handle in self._handles.items():
                if pid == os.getpid():
                    os.close(handle)
            self._handles.clear()

    def _handle(self, shard: Path) -> int:
        # Keyed by process: a handle inherited through fork would share its file position table with the parent.
        slot = (os.getpid(), shard)
        if slot not in self._handles:
            if len(self._handles) >= self._max_open:
                oldest = next(iter(self._handles))
                os.close(self._handles.pop(oldest))
            self._handles[slot] = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
        return self._handles[slot]
