"""Reads a folder of an object store: listings level by level, local copies for C libraries, files read by range.

Each request costs a round trip, so sizes come from listings, and requests for many files run in parallel.
"""

import errno
import glob
import io
import os
import posixpath
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import fsspec

from vita_data.formats.raw_tree.entries import Entry, level_matcher
from vita_data.storage.files import storage_errors
from vita_data.storage.scratch import Scratch

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NUM_REQUESTS = 32
"""Number of parallel requests."""


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn a store's exception on a read into a StorageError, or into FileNotFoundError for a missing file.

    Raises:
        FileNotFoundError: the file does not exist.
        StorageError: the store does not answer or denies access; names `where`.
    """
    with storage_errors(where):
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from error


class ObjectFolder:
    """Finds files and folders below `base`, a path of `fs` such as `bucket/folder`; remembers the sizes it found."""

    def __init__(self, fs: fsspec.AbstractFileSystem, base: str) -> None:
        self._fs = fs
        self._base = base
        self._sizes: dict[str, int] = {}
        self._listed: dict[str, list[Entry]] = {}

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted, relative to `base`.

        A level without a wildcard is not listed: a folder may contain millions of other files.
        """
        found, levels = [self._base], pattern.split("/")
        with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
            for number, level in enumerate(levels):
                if glob.has_magic(level):
                    found = [path for paths in pool.map(self._matching(level), found) for path in paths]
                else:
                    found = [f"{path}/{level}" for path in found]
                    if number == len(levels) - 1:
                        there = pool.map(self.exists, found)
                        found = [path for path, is_there in zip(found, there, strict=True) if is_there]
        return sorted(path.removeprefix(f"{self._base}/") for path in found)

    def _matching(self, level: str) -> Callable[[str], list[str]]:
        matches = level_matcher(level)

        def search(folder: str) -> list[str]:
            try:
                entries = self._fs.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            # Some tools store an empty object with the folder's own name; if a file has that name, `ls` lists it.
            names = {str(entry["name"]).rstrip("/"): entry for entry in entries}
            names = {name: entry for name, entry in names.items() if name.startswith(f"{folder}/")}
            self._listed[folder] = [
                Entry(name=posixpath.basename(name), is_folder=entry["type"] == "directory")
                for name, entry in names.items()
            ]
            matching = [name for name in names if matches(posixpath.basename(name))]
            for name in matching:
                if names[name]["type"] == "file":
                    self._sizes[name] = int(names[name]["size"])
            return matching

        return search

    def entries(self, folder: str) -> list[Entry]:
        """List a folder, without a request if `glob` has listed it."""
        if folder not in self._listed:
            self._matching("*")(folder)
        return self._listed.get(folder, [])

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder exists."""
        if path not in self._sizes:
            try:
                found = self._fs.info(path)
            except FileNotFoundError:
                return False
            if found["type"] == "file":
                self._sizes[path] = int(found["size"])
        return True

    def size(self, path: str) -> int:
        """Size of a file in bytes.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        if path not in self._sizes:
            self._sizes[path] = int(self._fs.size(path))
        return self._sizes[path]


class _OnBlock(fsspec.callbacks.Callback):  # type: ignore[misc]
    """Calls a function for each block of a file that is fetched."""

    def __init__(self, on_answer: Callable[[], None]) -> None:
        super().__init__()
        self._on_answer = on_answer

    def call(self, hook_name: str | None = None, **kwargs: object) -> None:
        """Call the function."""
        self._on_answer()


class Copies:
    """Local copies of files, in a folder of TMPDIR that is removed with this object."""

    def __init__(self, fs: fsspec.AbstractFileSystem, *, on_answer: Callable[[], None]) -> None:
        self._fs = fs
        self._scratch: Scratch | None = None
        self._on_block = _OnBlock(on_answer)

    def path_of(self, path: str, *, where: str) -> str:
        """Copy a file once; if it does not exist, neither does the returned path.

        Raises:
            StorageError: the store does not answer or denies access, or the disk of TMPDIR is full.
        """
        if self._scratch is None:
            self._scratch = Scratch("vita-raw-")
            weakref.finalize(self, self._scratch.remove)
        copy = self._scratch.path / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            unfinished = copy.with_name(f"{copy.name}.unfinished")
            try:
                with storage_errors(f"{where}, copied to {self._scratch.path}"):
                    self._fs.get_file(path, str(unfinished), callback=self._on_block)
                unfinished.rename(copy)
            except FileNotFoundError:
                pass
            finally:
                unfinished.unlink(missing_ok=True)
        return str(copy)

    def find(self, path: str) -> str | None:
        """Return a complete copy that outlives this object; None, since these do not."""
        return None

    def remove(self) -> None:
        """Remove the copies."""
        if self._scratch is not None:
            self._scratch.remove()


class RangeFile(io.RawIOBase, BinaryIO):
    """A file of an object store, read by ranges; exceptions of the store become StorageErrors."""

    def __init__(self, file: BinaryIO, *, where: str, on_answer: Callable[[], None]) -> None:
        self._file = file
        self._where = where
        self._on_answer = on_answer

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset without fetching."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file."""
        self._on_answer()
        with reading(self._where):
            return self._file.read(-1 if size is None else size)

    def readinto(self, buffer: "Buffer") -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file and drop prefetched bytes."""
        if not self.closed:
            self._file.close()
        super().close()
