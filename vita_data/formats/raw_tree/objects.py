"""Reading a folder of an object store: listings level by level, local copies for C libraries, files read by range.

Each request costs a round trip, so sizes come from listings, and what many files are asked for is asked side by side.
"""

import errno
import glob
import io
import os
import posixpath
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import fsspec

from vita_data.formats.raw_tree.entries import Entry, level_matcher
from vita_data.storage.files import storage_errors

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NUM_REQUESTS = 32
"""Requests under way at once."""


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what a store raises on a read into a StorageError, and an absent file into what a disk raises.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the store does not answer or refuses; `where` is named.
    """
    with storage_errors(where):
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from error


class ObjectFolder:
    """Finds what lies below `base`, a path of `fs` such as `bucket/folder`; remembers the sizes of what it found."""

    def __init__(self, fs: fsspec.AbstractFileSystem, base: str) -> None:
        self._fs = fs
        self._base = base
        self._sizes: dict[str, int] = {}
        self._listed: dict[str, list[Entry]] = {}

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted, relative to `base`.

        A level without a wildcard is not listed: beside one file that is wanted may lie millions.
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
            # Some tools store an empty object under a folder's own name; where a file has that name, `ls` lists it.
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
        """List a folder, with no request where `glob` looked into it."""
        if folder not in self._listed:
            self._matching("*")(folder)
        return self._listed.get(folder, [])

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
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
            FileNotFoundError: there is no such file.
        """
        if path not in self._sizes:
            self._sizes[path] = int(self._fs.size(path))
        return self._sizes[path]


class Copies:
    """Local copies of files, in a folder of TMPDIR that goes with this object."""

    def __init__(self, fs: fsspec.AbstractFileSystem) -> None:
        self._fs = fs
        self._folder: Path | None = None

    def path_of(self, path: str, *, where: str) -> str:
        """Copy a file, once; nothing is at the path that is returned where there is no such file.

        Raises:
            StorageError: the store does not answer or refuses, or the disk of TMPDIR is full.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="vita-raw-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        copy = self._folder / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            unfinished = copy.with_name(f"{copy.name}.unfinished")
            try:
                with storage_errors(f"{where}, copied to {self._folder}"):
                    self._fs.get_file(path, str(unfinished))
                unfinished.rename(copy)
            except FileNotFoundError:
                pass
            finally:
                unfinished.unlink(missing_ok=True)
        return str(copy)

    def remove(self) -> None:
        """Remove the copies."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class RangeFile(io.RawIOBase, BinaryIO):
    """A file of an object store, read by ranges; what the store raises at a read becomes a StorageError."""

    def __init__(self, file: BinaryIO, *, where: str) -> None:
        self._file = file
        self._where = where

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is fetched."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell the place."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file."""
        with reading(self._where):
            return self._file.read(-1 if size is None else size)

    def readinto(self, buffer: "Buffer") -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file and drop what was fetched ahead."""
        if not self.closed:
            self._file.close()
        super().close()
