"""Checked positional reads from shards: every read verifies crc32, so damage is an error and never a sample."""

import os
import resource
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from isal.isal_zlib import crc32

from vita_data.errors import ShardError, raise_machine_fault
from vita_data.shards.schema import MemberRef
from vita_data.storage.files import AnyPath, describe_fault, read_ranges

_RESERVED_HANDLES = 256
"""Reserved for everything else in the process."""


class ShardFiles:
    """File handles of local shards, opened lazily, one per shard and process; safe to share between threads."""

    def __init__(self, *, max_open: int | None = None) -> None:
        self._max_open = max_open or _handles_allowed()
        self._handles: dict[tuple[int, Path], _Handle] = {}
        # Searching for the oldest handle while another thread opens one would fail.
        self._evicting = threading.Lock()

    def read(self, shard: AnyPath, ref: MemberRef, *, clip: str, member: str) -> bytes:
        """Read one member.

        Raises:
            ShardError: the shard cannot be opened, ends early, or the bytes do not match crc32.
            StorageError: an object store does not answer.
        """
        return self.read_many(shard, {member: ref}, clip=clip)[member]

    def read_many(self, shard: AnyPath, refs: Mapping[str, MemberRef], *, clip: str) -> dict[str, bytes]:
        """Read members of one clip, in parallel on an object store.

        Raises:
            ShardError: as in `read`.
            StorageError: as in `read`.
        """
        try:
            found = self._ranges(shard, list(refs.values()))
        except OSError as error:
            where = f"shard {shard}, clip {clip}, member {' '.join(refs)}"
            raise_machine_fault(error, where)
            raise ShardError(f"{where}: cannot be read ({describe_fault(error)})") from error
        for (member, ref), data in zip(refs.items(), found, strict=True):
            if not matches(ref, data):
                raise mismatch(shard, ref, clip=clip, member=member)
        return dict(zip(refs, found, strict=True))

    def pread(self, shard: Path, offset: int, size: int) -> bytes:
        """Read bytes of a local shard without checks; fewer bytes if it ends early.

        Raises:
            OSError: the shard cannot be opened or read.
        """
        # A handle stays open while it is in use, so that none is closed while a thread reads.
        handle = self._handle(shard)
        # An index of a stranger may ask for any size, and all of it would be allocated.
        size = min(size, max(0, os.fstat(handle.number).st_size - offset))
        return os.pread(handle.number, size, offset)

    def read_into(self, shard: Path, offset: int, memory: memoryview) -> int:
        """Read bytes of a local shard into memory without checks; return their number, fewer if it ends early.

        Raises:
            OSError: the shard cannot be opened or read.
        """
        handle = self._handle(shard)
        return os.preadv(handle.number, (memory,), offset)

    def _ranges(self, shard: AnyPath, refs: Sequence[MemberRef]) -> list[bytes]:
        if not isinstance(shard, Path):
            return read_ranges(shard, [(ref.offset, ref.size) for ref in refs])
        return [self.pread(shard, ref.offset, ref.size) for ref in refs]

    def close(self) -> None:
        """Close the handles that no thread is using; handles in use are closed afterwards."""
        with self._evicting:
            self._handles.clear()

    def _handle(self, shard: Path) -> "_Handle":
        # Keyed by process: a handle inherited by fork would share its file position with the parent.
        slot = (os.getpid(), shard)
        handle = self._handles.get(slot)
        if handle is None:
            handle = _Handle(shard)
            with self._evicting:
                self._handles[slot] = handle
                while len(self._handles) > self._max_open:
                    del self._handles[next(iter(self._handles))]
        return handle


class _Handle:
    """An open file that is closed with its last user."""

    __slots__ = ("number",)

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _handles_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else max(min(soft - _RESERVED_HANDLES, 4096), 16)


def matches(ref: MemberRef, data: bytes | memoryview) -> bool:
    """Tell whether bytes equal those that were written."""
    return len(data) == ref.size and crc32(data) == ref.crc32


def mismatch(shard: AnyPath, ref: MemberRef, *, clip: str, member: str) -> ShardError:
    """Make the error for bytes that differ from those that were written."""
    return ShardError(
        f"shard {shard}, clip {clip}, member {member}: {ref.size} bytes at {ref.offset} do not match "
        "crc32; restore the shard, or remove it and run the same build again"
    )
