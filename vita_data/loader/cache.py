"""Parts of remote shards kept on a disk, within a limit of bytes.

Each shard has one sparse file in which a member lies where it lies in the shard. Whether it is there, and whole, its
crc32 tells: a hole, a write cut short and a shard that was built anew all fail it and are fetched again. So there is
nothing to keep in step with the files, and the ranks of a node may share a folder.
"""

import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.shards.reader import matches
from vita_data.shards.schema import MemberRef
from vita_data.storage import describe_fault

_log = logging.getLogger(__name__)

_TOUCH_S = 10.0
"""How often a file that is read is marked as used."""
_SPARE = 0.1
"""Part of the limit that a clearing frees beyond what it must, so that not every write clears."""
_BLOCK = 512
"""Bytes of a block in `stat`."""
_MAX_OPEN = 512
WHOLE = ".whole"


@dataclass(slots=True)
class _File:
    """An open file of the cache; closes with its last user."""

    number: int
    touched_s: float = field(default_factory=time.monotonic)

    def __del__(self) -> None:
        os.close(self.number)


class ShardCache:
    """A folder of sparse files; safe to share between threads and processes."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Use a folder, which is made where it is absent; what lies in it from earlier runs is used.

        Raises:
            RequestError: it cannot be made or written to, or the limit is none.
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
        # Not the lock of writing: a clearing holds that for long, and closes files.
        self._evicting = threading.Lock()
        self._files: dict[str, _File] = {}
        self._num_bytes = self._used()
        self._told = False

    def read(self, address: str, ref: MemberRef) -> bytes | None:
        """Give a member's bytes if they are there and whole."""
        file = self._open(address, os.O_RDWR)
        if file is None:
            return None
        with suppress(OSError):
            data = os.pread(file.number, ref.size, ref.offset)
            if matches(ref, data):
                self._touch(file, address)
                return data
        return None

    def write(self, address: str, offset: int, data: bytes) -> None:
        """Keep bytes of a shard; a disk that is full is told once and keeps nothing more."""
        try:
            file = self._open(address, os.O_RDWR | os.O_CREAT)
            if file is not None:
                os.pwrite(file.number, data, offset)
        except OSError as error:
            self._tell(f"cache {self._folder}: cannot be written to ({describe_fault(error)}); reading goes on without")
            return
        with self._lock:
            self._num_bytes += len(data)
            if self._num_bytes > self._limit_bytes:
                self._clear()

    def mark_whole(self, address: str) -> None:
        """Note that all of a shard was written."""
        with suppress(OSError):
            self._path(address).with_suffix(WHOLE).touch()

    def is_whole(self, address: str) -> bool:
        """Tell whether all of a shard was written and nothing of it was removed."""
        return self._path(address).exists() and self._path(address).with_suffix(WHOLE).exists()

    def close(self) -> None:
        """Close the files that nobody is using."""
        with self._evicting:
            self._files.clear()

    def _path(self, address: str) -> Path:
        return self._folder / _name(address)

    def _open(self, address: str, flags: int) -> _File | None:
        name = _name(address)
        file = self._files.get(name)
        if file is None:
            try:
                file = _File(os.open(self._folder / name, flags | os.O_CLOEXEC, 0o644))
            except FileNotFoundError:
                return None
            with self._evicting:
                self._files[name] = file
                while len(self._files) > _MAX_OPEN:
                    del self._files[next(iter(self._files))]
        return file

    def _touch(self, file: _File, address: str) -> None:
        now_s = time.monotonic()
        if now_s - file.touched_s > _TOUCH_S:
            file.touched_s = now_s
            os.utime(file.number)
            if not os.fstat(file.number).st_nlink:
                # Another rank has removed it; what is written to it from now on would be lost.
                with self._evicting:
                    self._files.pop(_name(address), None)

    def _used(self) -> int:
        return sum(size for _, size, _ in self._listed())

    def _listed(self) -> list[tuple[float, int, Path]]:
        """When each file was last used, its bytes on the disk, its path."""
        found = []
        for path in self._folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_blocks * _BLOCK, path))
        return sorted(found)

    def _clear(self) -> None:
        """Remove the files that were used longest ago, down to less than the limit."""
        listed = self._listed()
        self._num_bytes = sum(size for _, size, _ in listed)
        for used_s, size, path in listed:
            if self._num_bytes <= (1 - _SPARE) * self._limit_bytes:
                break
            if time.time() - used_s < _TOUCH_S:
                self._tell(f"cache {self._folder}: its limit, {self._limit_bytes:,} bytes, is less than what is in use")
            path.with_suffix(WHOLE).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            with self._evicting:
                self._files.pop(path.name, None)
            self._num_bytes -= size

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            _log.warning(what)


@lru_cache(maxsize=1 << 16)
def _name(address: str) -> str:
    return f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{address.rsplit('/', 1)[-1]}"
