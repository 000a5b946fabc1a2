"""Parts of remote shards cached on a disk, within a limit of bytes.

Each shard has one sparse file, in which a member has the same offset as in the shard. Its crc32 tells whether a member
is cached and intact: a hole, an interrupted write and a rebuilt shard all fail the check and are fetched again. So no
state has to be kept in sync with the files, and the ranks of a node may share a folder.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.shards.reader import matches
from vita_data.shards.schema import MemberRef
from vita_data.storage.files import describe_fault
from vita_data.storage.lock import Lock, try_lock

_log = logging.getLogger(__name__)

_TOUCH_S = 10.0
"""How often a file being read is marked as used."""
_FULL, _CLEARED = 15 / 16, 14 / 16
"""Fractions of the limit where clearing starts and stops: not every write clears, and other ranks write meanwhile."""
_UNSEEN = 1 / 256
"""Fraction of the limit that is written before checking what other ranks have written."""
_BLOCK = 512
"""Bytes of a block in `stat`."""
_PAGE = 4096
_MAX_OPEN = 512
_WHOLE, _CLAIM = ".whole", ".claim"


@dataclass(slots=True)
class _File:
    """An open file of the cache; it is closed with its last user."""

    number: int
    touched_s: float = field(default_factory=time.monotonic)

    def __del__(self) -> None:
        os.close(self.number)


class ShardCache:
    """A folder of sparse files; safe to share between threads and processes."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Use a folder, which is created if missing; files in it from earlier runs are used.

        Raises:
            RequestError: it cannot be created or written to, or the limit is not positive.
        """
        if limit_bytes < 1:
            raise RequestError(f"cache {folder}: its limit must be at least 1 byte; found {limit_bytes}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RequestError(f"cache {folder}: cannot be written to ({describe_fault(error)})") from error
        self._folder, self._limit_bytes = folder, limit_bytes
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._num_bytes = sum(size for _, size, _ in self._listed())
        self._num_unseen = self._num_pending = 0
        self._told: set[str] = set()

    def read(self, address: str, ref: MemberRef) -> bytes | None:
        """Return a member's bytes if they are cached and intact."""
        with suppress(OSError):
            file = self._open(address, os.O_RDWR)
            data = os.pread(file.number, ref.size, ref.offset)
            if matches(ref, data):
                self._touch(file)
                return data
            # Only this check notices that the shard was rebuilt or the disk lost data.
            self._path(address).with_suffix(_WHOLE).unlink(missing_ok=True)
        return None

    def write(self, address: str, offset: int, data: bytes) -> None:
        """Cache bytes of a shard; if the disk refuses them, warn once and continue without caching them."""
        size = (len(data) // _PAGE + 2) * _PAGE
        with self._lock:
            has_room = self._make_room(size)
            self._num_pending += size
        try:
            if has_room:
                os.pwrite(self._open(address, os.O_RDWR | os.O_CREAT).number, data, offset)
        except OSError as error:
            self._tell(f"cannot be written to ({describe_fault(error)}); continuing without the cache")
        finally:
            with self._lock:
                self._num_pending -= size
                self._num_bytes += size if has_room else 0

    @contextmanager
    def claimed(self, address: str) -> Iterator[bool]:
        """Claim a shard for a `with` block; yields whether no one else, in this or another process, has claimed it."""
        with open(self._path(address).with_suffix(_CLAIM), "wb") as file:
            yield try_lock(file) is not Lock.TAKEN

    def mark_whole(self, address: str) -> None:
        """Record that all of a shard was written."""
        with suppress(OSError):
            self._path(address).with_suffix(_WHOLE).touch()

    def is_whole(self, address: str) -> bool:
        """Tell whether all of a shard was written and nothing was removed since."""
        return self._path(address).exists() and self._path(address).with_suffix(_WHOLE).exists()

    def close(self) -> None:
        """Close the files that are not in use."""
        with self._lock:
            self._files.clear()

    def _path(self, address: str) -> Path:
        return self._folder / _name(address)

    def _open(self, address: str, flags: int) -> _File:
        name = _name(address)
        with self._lock:
            file = self._files.get(name)
            if file is None or not os.fstat(file.number).st_nlink:
                # The file is missing, or another rank has removed it: anything written to it would be lost.
                self._files.pop(name, None)
                file = self._files[name] = _File(os.open(self._folder / name, flags | os.O_CLOEXEC, 0o644))
            while len(self._files) > _MAX_OPEN:
                del self._files[next(iter(self._files))]
        return file

    def _touch(self, file: _File) -> None:
        now_s = time.monotonic()
        if now_s - file.touched_s > _TOUCH_S:
            file.touched_s = now_s
            os.utime(file.number)

    def _listed(self) -> list[tuple[float, int, Path]]:
        """List each file's last use, its bytes on the disk, and its path."""
        found = []
        for path in self._folder.glob("*.tar"):
            with suppress(OSError):
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_blocks * _BLOCK, path))
        return sorted(found)

    def _make_room(self, size: int) -> bool:
        """Make room for more bytes within the limit; return whether they fit."""
        if size > self._limit_bytes:
            return False
        self._num_unseen += size
        if self._num_unseen > _UNSEEN * self._limit_bytes or self._is_over(size, _FULL):
            listed = self._listed()
            self._num_bytes, self._num_unseen = sum(one for _, one, _ in listed), size
            if self._is_over(size, _FULL):
                self._clear(listed, size)
        return not self._is_over(size, 1.0)

    def _is_over(self, size: int, part: float) -> bool:
        return self._num_bytes + self._num_pending + size > part * self._limit_bytes

    def _clear(self, listed: list[tuple[float, int, Path]], size: int) -> None:
        """Remove the least recently used files."""
        for used_s, num_bytes, path in listed:
            if not self._is_over(size, _CLEARED):
                break
            if time.time() - used_s < _TOUCH_S:
                self._tell(f"its limit of {self._limit_bytes:,} bytes is less than the bytes in use; raise cache_bytes")
            with suppress(OSError):
                path.with_suffix(_WHOLE).unlink(missing_ok=True)
                # Truncate first: a file that other ranks have open would keep its space on the disk.
                os.truncate(path, 0)
                path.unlink()
                path.with_suffix(_CLAIM).unlink(missing_ok=True)
            self._files.pop(path.name, None)
            self._num_bytes -= num_bytes

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("cache %s: %s", self._folder, what)


@lru_cache(maxsize=1 << 16)
def _name(address: str) -> str:
    return f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{address.rsplit('/', 1)[-1]}"
