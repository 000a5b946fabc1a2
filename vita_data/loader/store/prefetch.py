"""Where the bytes of members come from: disks directly, object stores through `vita_data.loader.store.remote`."""

import errno
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vita_data.errors import FORBIDDEN, TRAINING_RESUMES, ShardError, StorageError, VitaDataError, forbidden
from vita_data.loader.order.members import BatchMembers, Member
from vita_data.loader.store.daemon_pool import StallDetector
from vita_data.shards.reader import ShardFiles
from vita_data.storage.files import AnyPath, describe_fault

Data = bytes | memoryview


class MemberSource(Protocol):
    """Reads the bytes of members; safe to share between threads."""

    def read(self, members: Sequence[Member]) -> Iterator[Data]:
        """Read members one after another, unchecked; fewer bytes where a file ends early.

        The result is valid until the same thread reads again.

        Raises:
            StorageError: the file is missing, or the disk, mount or store cannot read it.
            ShardError: the storage medium is damaged.
        """


class Prefetcher(Protocol):
    """Prefetches the bytes that upcoming batches need."""

    def begin(self, located: BatchMembers) -> MemberSource:
        """Start prefetching what a batch needs; return the source to read it from."""

    def drop(self) -> None:
        """Cancel what was started; no one waits for it any more."""

    def close(self) -> None:
        """Stop, and close open files."""


class LocalMembers:
    """Reads members from a disk or a mount; nothing is prefetched."""

    def __init__(self, stalls: StallDetector) -> None:
        self._files, self._stalls, self._local = ShardFiles(), stalls, threading.local()

    def begin(self, located: BatchMembers) -> MemberSource:
        """Return this object, which reads all members."""
        return self

    def read(self, members: Sequence[Member]) -> Iterator[memoryview]:
        """Read members; raises like `MemberSource.read`."""
        read, memory, start = self._stalls.in_flight(), self._memory(sum(member.ref.size for member in members)), 0
        for member in members:
            ref = member.ref
            read.begin(member)
            try:
                stop = start + self._files.read_into(
                    _local(member.view.shard), ref.offset, memory[start : start + ref.size]
                )
            except OSError as error:
                raise unreadable(member, error) from error
            finally:
                read.end()
            yield memory[start:stop]
            start = stop

    def _memory(self, num_bytes: int) -> memoryview:
        """Return the calling thread's memory: allocating new pages would cost more than reading into them."""
        memory: memoryview | None = getattr(self._local, "memory", None)
        if memory is None or len(memory) < num_bytes:
            memory = self._local.memory = memoryview(bytearray(num_bytes))
        return memory

    def drop(self) -> None:
        """Do nothing, since nothing is prefetched."""

    def close(self) -> None:
        """Close the shards."""
        self._files.close()


def _local(shard: AnyPath) -> Path:
    if not isinstance(shard, Path):
        raise TypeError(f"expected a local shard, got {shard}")
    return shard


def unreadable(member: Member, error: OSError) -> VitaDataError:
    """Make the error for a failed read, depending on whether one place or the whole medium is bad."""
    if error.errno in FORBIDDEN:
        return StorageError(f"{member}: {forbidden(error.filename or 'it', error.errno)}")
    text = f"{member}: cannot be read ({describe_fault(error)})"
    if error.errno == errno.EIO:
        return ShardError(f"{text}; restore the shard, or remove it and run the same build again")
    return StorageError(f"{text}; restore it and {TRAINING_RESUMES}")


def unreached(member: Member, error: Exception) -> StorageError:
    """Make the error for a member that a store could not return."""
    fault = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    return StorageError(f"{member}: cannot be read ({describe_fault(fault)}); fix this and {TRAINING_RESUMES}")
