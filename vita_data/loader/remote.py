"""Members on object stores, fetched ahead: which ones batch k needs is arithmetic, so they can be asked for early.

Neighbouring members are asked for as one range, many ranges side by side; a cache on a disk keeps what came.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vita_data.errors import StorageError
from vita_data.loader.cache import ShardCache
from vita_data.loader.crew import Crew, Watch
from vita_data.loader.cuts import BatchCut, Member
from vita_data.loader.near import MemberSource, unreadable
from vita_data.loader.view import ShardView
from vita_data.storage import read_ranges
from vita_data.types import Order

_MAX_GAP = 32 << 10
"""Bytes between two members that are fetched along with them rather than asked around."""
_MAX_RANGE = 8 << 20
_SHARD_THREADS = 4
"""Threads that fetch whole shards, beside those that fetch what the next batches wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """How shards on an object store are read."""

    connections: int = 32
    """Ranges asked for side by side."""
    prefetch: int = 8
    """Batches whose members are fetched ahead of those that are decoded; 0 fetches when a slot is read."""
    cache: Path | None = None
    """Folder that keeps what was fetched; None keeps nothing."""
    cache_bytes: int = 100 << 30


class RemoteMembers:
    """Brings the members of batches from a store."""

    def __init__(self, options: RemoteOptions, *, order: Order, watch: Watch) -> None:
        self._options, self._watch = options, watch
        self._crew = Crew(options.connections, name="vita-fetch")
        self._cache = None if options.cache is None else ShardCache(options.cache, limit_bytes=options.cache_bytes)
        # Draws that stay within a few shards use most of each: those are worth fetching whole, in large ranges.
        wholly = order is Order.WINDOW and self._cache is not None and options.prefetch > 0
        self._shard_crew = Crew(_SHARD_THREADS, name="vita-shard") if wholly else None
        self._begun: set[str] = set()

    def begin(self, cut: BatchCut) -> MemberSource:
        """Ask for all that a batch needs."""
        if not self._options.prefetch:
            return self
        pieces: dict[tuple[ShardView, int], Future[dict[int, bytes]]] = {}
        for run in _runs(cut.members()):
            self._begin_shard(run[0].view)
            piece = self._crew.submit(partial(self._fetch, run))
            pieces.update(dict.fromkeys(((member.view, member.ref.offset) for member in run), piece))
        return _Fetched(pieces, self)

    def read(self, member: Member) -> bytes:
        """Read one member now; raises as `MemberSource.read`."""
        return self._fetch([member])[member.ref.offset]

    def close(self) -> None:
        """Stop fetching."""
        self._crew.close()
        if self._shard_crew is not None:
            self._shard_crew.close()
        if self._cache is not None:
            self._cache.close()

    def _fetch(self, run: Sequence[Member]) -> dict[int, bytes]:
        """Get neighbouring members, by offset: those that the cache lacks in one range."""
        view = run[0].view
        found: dict[int, bytes] = {}
        if self._cache is not None:
            cached = [(one.ref.offset, self._cache.read(view.address, one.ref)) for one in run]
            found = {offset: data for offset, data in cached if data is not None}
        lacking = [one for one in run if one.ref.offset not in found]
        if lacking:
            start = lacking[0].ref.offset
            data = self._get(lacking[0], start, max(one.ref.offset + one.ref.size for one in lacking) - start)
            for one in lacking:
                found[one.ref.offset] = data[one.ref.offset - start : one.ref.offset - start + one.ref.size]
        return found

    def _get(self, member: Member, offset: int, size: int) -> bytes:
        desk = self._watch.desk()
        desk.begin(member)
        try:
            (data,) = read_ranges(member.view.shard, [(offset, size)])
        except OSError as error:
            raise unreadable(member, error) from error
        finally:
            desk.end()
        if self._cache is not None:
            self._cache.write(member.view.address, offset, data)
        return data

    def _begin_shard(self, view: ShardView) -> None:
        if self._shard_crew is None or self._cache is None or view.address in self._begun:
            return
        self._begun.add(view.address)
        if not self._cache.is_whole(view.address):
            self._shard_crew.submit(partial(self._fetch_shard, view, self._cache))

    def _fetch_shard(self, view: ShardView, cache: ShardCache) -> None:
        """Fetch a shard piece by piece; whoever needs a member that has not come yet asks for that alone."""
        try:
            for offset in range(0, int(view.shard.stat().st_size), _MAX_RANGE):
                (data,) = read_ranges(view.shard, [(offset, _MAX_RANGE)])
                cache.write(view.address, offset, data)
        except (OSError, StorageError):
            # The next batch tries again; a member that is needed says what is wrong.
            self._begun.discard(view.address)
            return
        cache.mark_whole(view.address)


class _Fetched:
    """The members of some slots, under way or here; the others are read at once."""

    def __init__(self, pieces: dict[tuple[ShardView, int], Future[dict[int, bytes]]], rest: RemoteMembers) -> None:
        self._pieces, self._rest = pieces, rest

    def read(self, member: Member) -> bytes:
        """Wait for a member; raises as `MemberSource.read`."""
        offset = member.ref.offset
        piece = self._pieces.get((member.view, offset))
        return self._rest.read(member) if piece is None else piece.result()[offset]


def _runs(wanted: Iterable[Member]) -> list[list[Member]]:
    """Group members by shard and neighbourhood."""
    runs: list[list[Member]] = []
    for member in sorted(wanted, key=lambda one: (one.view.address, one.ref.offset)):
        if not runs or not _is_near(runs[-1], member):
            runs.append([member])
        elif member.ref.offset != runs[-1][-1].ref.offset:
            runs[-1].append(member)
    return runs


def _is_near(run: Sequence[Member], member: Member) -> bool:
    first, last, stop = run[0], run[-1].ref, member.ref.offset + member.ref.size
    gap = member.ref.offset - last.offset - last.size
    return first.view is member.view and gap <= _MAX_GAP and stop - first.ref.offset <= _MAX_RANGE
