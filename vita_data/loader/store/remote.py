"""Prefetches members from object stores: which ones batch k needs is arithmetic, so they can be requested early.

Neighbouring members are requested as one range, many ranges in parallel, those of the next batch first; a member that
several batches need is requested once. An optional cache on a disk keeps what was fetched.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from vita_data.errors import StorageError
from vita_data.loader.options import RemoteOptions
from vita_data.loader.order.members import BatchMembers, Member
from vita_data.loader.order.plan import Plan
from vita_data.loader.store.cache import ShardCache
from vita_data.loader.store.daemon_pool import DaemonPool, StallDetector
from vita_data.loader.store.prefetch import MemberSource, unreached
from vita_data.loader.store.shard_prefetch import ShardPrefetcher
from vita_data.loader.windows.clips import ShardView
from vita_data.storage.object_ranges import read_range
from vita_data.types import Order

_log = logging.getLogger(__name__)

_MAX_GAP = 32 << 10
"""A gap of up to this many bytes between two members is fetched too, instead of making two requests."""
_MAX_RANGE = 8 << 20

_Slot = tuple[str, int]
"""The place of a member: its shard's address and its offset."""
_Piece = Future[dict[int, bytes]]
"""Members of one shard, by offset."""


class RemoteMembers:
    """Fetches the members of batches from a store."""

    def __init__(self, options: RemoteOptions, *, plan: Plan, stalls: StallDetector) -> None:
        self._options, self._stalls = options, stalls
        self._cache = (
            None if options.cache is None else ShardCache(Path(options.cache), limit_bytes=options.cache_bytes)
        )
        # Without prefetching, the decoding threads read.
        self._pool = DaemonPool(options.connections if options.prefetch else 0, name="vita-fetch")
        # A piece stays as long as a batch needs it. Used only by the thread that begins batches.
        self._asked: WeakValueDictionary[_Slot, _Piece] = WeakValueDictionary()
        wholly = self._cache is not None and _reads_whole_shards(plan, options)
        self._whole = ShardPrefetcher(self._cache, stalls) if self._cache is not None and wholly else None

    def begin(self, located: BatchMembers) -> MemberSource:
        """Request everything that a batch needs."""
        if not self._options.prefetch:
            return self
        pieces: dict[_Slot, _Piece] = {}
        lacking: dict[_Slot, Member] = {}
        for member in located.members():
            slot = (member.view.address, member.ref.offset)
            piece = self._asked.get(slot)
            if piece is None or _is_lost(piece):
                lacking[slot] = member
            else:
                pieces[slot] = piece
        for run in _runs(lacking.values()):
            piece = self._pool.submit(partial(self._fetch, run))
            pieces.update({(run[0].view.address, member.ref.offset): piece for member in run})
        self._asked.update(pieces)
        if self._whole is not None:
            self._whole.begin({member.view for member in lacking.values()})
        return _Fetched(pieces, self)

    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        """Read members now; raises like `MemberSource.read`."""
        return map(self.read_now, members)

    def read_now(self, member: Member) -> bytes:
        """Read one member now; raises like `MemberSource.read`."""
        try:
            return self._fetch([member])[member.ref.offset]
        except (OSError, StorageError) as error:
            raise unreached(member, error) from error

    def drop(self) -> None:
        """Cancel requests that have not started."""
        self._pool.forget()

    def close(self) -> None:
        """Stop fetching."""
        if self._whole is not None:
            self._whole.close()
        self._pool.close()
        if self._cache is not None:
            self._cache.close()

    def _fetch(self, run: Sequence[Member]) -> dict[int, bytes]:
        """Return neighbouring members by offset; those missing in the cache are fetched as one range."""
        found: dict[int, bytes] = {}
        if self._cache is not None:
            cached = [(one.ref.offset, self._cache.read(one.view.address, one.ref)) for one in run]
            found = {offset: data for offset, data in cached if data is not None}
        lacking = [one for one in run if one.ref.offset not in found]
        if lacking:
            start = lacking[0].ref.offset
            data = self._get(lacking[0], start, max(one.ref.offset + one.ref.size for one in lacking) - start)
            for one in lacking:
                found[one.ref.offset] = data[one.ref.offset - start : one.ref.offset - start + one.ref.size]
        return found

    def _get(self, member: Member, offset: int, size: int) -> bytes:
        read = self._stalls.in_flight()
        read.begin(member)
        try:
            data = read_range(member.view.shard, offset, size)
        finally:
            read.end()
        if self._cache is not None:
            self._cache.write(member.view.address, offset, data)
        return data


class _Fetched:
    """The members of some slots, fetched or being fetched; other members are read directly."""

    def __init__(self, pieces: dict[_Slot, _Piece], rest: RemoteMembers) -> None:
        self._pieces, self._rest = pieces, rest

    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        """Wait for members; raises like `MemberSource.read`."""
        return map(self._wait, members)

    def _wait(self, member: Member) -> bytes:
        offset = member.ref.offset
        piece = self._pieces.get((member.view.address, offset))
        if piece is None:
            return self._rest.read_now(member)
        try:
            return piece.result()[offset]
        except (OSError, StorageError) as error:
            raise unreached(member, error) from error


def _is_lost(piece: _Piece) -> bool:
    return piece.done() and (piece.cancelled() or piece.exception() is not None)


def _runs(wanted: Iterable[Member]) -> list[list[Member]]:
    """Group members by shard and neighbourhood, in the order of their first use."""
    runs: list[list[Member]] = []
    for member in sorted(wanted, key=lambda one: (one.view.address, one.ref.offset)):
        if not runs or not _is_near(runs[-1], member):
            runs.append([member])
        else:
            runs[-1].append(member)
    return runs


def _is_near(run: Sequence[Member], member: Member) -> bool:
    first, last, stop = run[0], run[-1].ref, member.ref.offset + member.ref.size
    gap = member.ref.offset - last.offset - last.size
    same = first.view.address == member.view.address
    return same and gap <= _MAX_GAP and stop - first.ref.offset <= _MAX_RANGE


def _reads_whole_shards(plan: Plan, options: RemoteOptions) -> bool:
    """Tell whether whole shards are fetched: draws that stay within a few shards use most of each."""
    if plan.order.kind is not Order.WINDOW or not options.prefetch:
        return False
    at_a_time = _bytes_at_a_time(plan)
    fits = at_a_time <= options.cache_bytes
    if not fits:
        _log.warning(
            "cache %s: order window reads %s bytes of shards at a time, but the cache limit is %s; only the bytes that "
            "batches need are fetched. Raise cache_bytes, or lower order.num_shards", options.cache, f"{at_a_time:,}",
            f"{options.cache_bytes:,}",
        )  # fmt: skip
    return fits


def _bytes_at_a_time(plan: Plan) -> int:
    """Return the maximum bytes of the shards that a plan's order draws from at a time."""
    pools: list[list[ShardView]] = [list(one.pool.opened.views) for pools in plan.pools.values() for one in pools]
    every = {view.address: view.num_bytes for views in pools for view in views}
    largest = [sorted(every[view.address] for view in views)[-plan.order.num_shards :] for views in pools]
    return min(sum(every.values()), sum(map(sum, largest)))
