"""Prefetches whole shards into the cache in large ranges, alongside the members that batches wait for."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from vita_data.errors import StorageError
from vita_data.loader.store.cache import ShardCache
from vita_data.loader.store.daemon_pool import DaemonPool, StallDetector
from vita_data.loader.windows.clips import ShardView
from vita_data.storage.object_ranges import read_range

_THREADS = 4
"""Few compared with the connections that fetch what the next batches need."""
_RANGE = 8 << 20


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a shard that is being read."""

    view: ShardView
    offset: int
    size: int

    def __str__(self) -> str:
        return f"shard {self.view.shard}, {self.size} bytes at byte {self.offset}"


class ShardPrefetcher:
    """Fetches shards; of the ranks that share a cache, one rank fetches each shard."""

    def __init__(self, cache: ShardCache, stalls: StallDetector) -> None:
        self._cache, self._stalls = cache, stalls
        self._pool = DaemonPool(_THREADS, name="vita-shard")
        self._under_way: set[str] = set()
        self._closed = threading.Event()

    def begin(self, views: Iterable[ShardView]) -> None:
        """Fetch the shards that are neither cached nor being fetched; evicted shards are fetched again."""
        for view in views:
            if view.address not in self._under_way and not self._cache.is_whole(view.address):
                self._under_way.add(view.address)
                self._pool.submit(partial(self._fetch, view))

    def close(self) -> None:
        """Stop after the current ranges."""
        self._closed.set()
        self._pool.close()

    def _fetch(self, view: ShardView) -> None:
        """Fetch a shard piece by piece; a member that is needed earlier is fetched separately."""
        try:
            with self._cache.claimed(view.address) as is_mine:
                if is_mine and not self._cache.is_whole(view.address):
                    self._fetch_parts(view)
        except (OSError, StorageError):
            # The next batch starts it again; reading a needed member reports the error.
            pass
        finally:
            self._under_way.discard(view.address)

    def _fetch_parts(self, view: ShardView) -> None:
        read, end = self._stalls.in_flight(), view.num_bytes
        for offset in range(0, end, _RANGE):
            if self._closed.is_set():
                return
            size = min(_RANGE, end - offset)
            read.begin(_Part(view, offset, size))
            try:
                data = read_range(view.shard, offset, size)
            finally:
                read.end()
            self._cache.write(view.address, offset, data)
        self._cache.mark_whole(view.address)
