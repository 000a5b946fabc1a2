"""Where the bytes of members come from: disks at once, object stores through `vita_data.loader.store.remote`."""

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
    """Gives the bytes of members; safe to share between threads."""

    def read(self, members: Sequence[Member]) -> Iterator[Data]:
        """Read members one after another, unchecked; fewer bytes where a file ends early.

        What it gives holds until the same thread reads again.

        Raises:
            StorageError: the file is gone, or the disk, mount or store does not give it.
            ShardError: the medium under the file is damaged.
        """


class Prefetcher(Protocol):
    """Prefetches the bytes that upcoming batches need."""

    def begin(self, located: BatchMembers) -> MemberSource:
        """Begin to bring what a batch needs, and give what to read it from."""

    def drop(self) -> None:
        """Give up what was begun; nobody waits for it any more."""

    def close(self) -> None:
        """Stop, and close what is open."""


class LocalMembers:
    """Reads members from a disk or a mount; there is nothing to begin."""

    def __init__(self, stalls: StallDetector) -> None:
        self._files, self._stalls, self._local = ShardFiles(), stalls, threading.local()

    def begin(self, located: BatchMembers) -> MemberSource:
        """Give the source of all members."""
        return self

    def read(self, members: Sequence[Member]) -> Iterator[memoryview]:
        """Read members; raises as `MemberSource.read`."""
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
        """Give the calling thread's memory: new memory is new pages, which cost more than reading into them."""
        memory: memoryview | None = getattr(self._local, "memory", None)
        if memory is None or len(memory) < num_bytes:
            memory = self._local.memory = memoryview(bytearray(num_bytes))
        return memory

    def drop(self) -> None:
        """Do nothing: nothing was begun."""

    def close(self) -> None:
        """Close the shards."""
        self._files.close()


def _local(shard: AnyPath) -> Path:
    if not isinstance(shard, Path):
        raise TypeError(f"expected a local shard, got {shard}")
    return shard


def unreadable(member: Member, error: OSError) -> VitaDataError:
    """Make the error of a read that failed, of one damaged place on a medium or of the whole of it."""
    if error.errno in FORBIDDEN:
        return StorageError(f"{member}: {forbidden(error.filename or 'it', error.errno)}")
    text = f"{member}: cannot be read ({describe_fault(error)})"
    if error.errno == errno.EIO:
        return ShardError(f"{text}; restore the shard, or remove it and run the same build again")
    return StorageError(f"{text}; restore it and {TRAINING_RESUMES}")


def unreached(member: Member, error: Exception) -> StorageError:
    """Make the error of a member that a store did not give."""
    fault = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    return StorageError(f"{member}: cannot be read ({describe_fault(fault)}); fix this and {TRAINING_RESUMES}")
