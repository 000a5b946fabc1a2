"""A raw dataset folder behind fsspec, so that sources read local paths and object stores alike."""

import glob
import os
import posixpath
from pathlib import PurePosixPath
from typing import BinaryIO, Self

import fsspec

from vita_data.errors import RequestError, StorageError
from vita_data.formats.object_tree import Copies, ObjectFolder, RangeFile, reading
from vita_data.storage import is_local_fs, require_local, require_store, storage_errors, store_options
from vita_data.types import READ_BLOCK_BYTES


class FsspecTree:
    """A read-only folder; every path is relative to its root and uses `/`.

    Leaving a `with` block, or `let_go`, removes the local copies of what lies in an object store.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        if "://" not in root:
            try:
                require_local(root)
            except RequestError as error:
                raise RequestError(f"--raw {error}") from None
        try:
            self._fs, self._base = fsspec.core.url_to_fs(root, **store_options(root))
        except (ImportError, ValueError) as error:
            raise RequestError(f"--raw {root}: this kind of address cannot be read here ({error})") from error
        self._is_local = is_local_fs(self._fs)
        self._folder = ObjectFolder(self._fs, self._base.rstrip("/"))
        self._copies = Copies(self._fs)
        if self._is_local:
            if not self._fs.isdir(self._base):
                raise RequestError(f"--raw {root}: no such directory")
            return
        require_store(self._fs, self._base, address=f"--raw {root}")
        with storage_errors(f"--raw {root}"):
            self._require_folder()

    def _require_folder(self) -> None:
        try:
            found = self._fs.info(self._base)
        except FileNotFoundError:
            bucket = self._base.split("/")[0]
            if self._fs.exists(bucket):
                raise RequestError(f"--raw {self.root}: no such folder in the bucket {bucket}") from None
            raise StorageError(
                f"--raw {self.root}: there is no bucket {bucket}; check its name and whose store is asked "
                "(for S3: AWS_ENDPOINT_URL), then run the same command again"
            ) from None
        if found["type"] != "directory":
            raise RequestError(f"--raw {self.root} is a file: name the folder that contains it")

    def _full(self, path: str) -> str:
        full = str(PurePosixPath(self._base) / path)
        if self._is_local or ".." not in PurePosixPath(path).parts:
            return full
        # A disk follows `..` itself; to an object store it is a name. Nothing lies above a bucket.
        outer = posixpath.normpath(full)
        return outer if outer.startswith(f"{self._base.split('/')[0]}/") else full

    def _where(self, path: str) -> str:
        return f"--raw {self.root}, {path}"

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted; `*` stays inside one level."""
        if not self._is_local:
            with storage_errors(f"--raw {self.root}"):
                return self._folder.glob(pattern)
        self._require_listable(pattern)
        prefix = self._base.rstrip("/") + "/"
        found = self._fs.glob(f"{glob.escape(self._base.rstrip('/'))}/{pattern}")
        return sorted(str(path).removeprefix(prefix) for path in found)

    def _require_listable(self, pattern: str) -> None:
        """Refuse a folder that may not be listed: searching it would find nothing, and its episodes would be lost."""
        levels = pattern.split("/")
        for number in range(len(levels)):
            if not glob.has_magic(levels[number]):
                continue
            above = "/".join([glob.escape(self._base.rstrip("/")), *levels[:number]])
            for folder in self._fs.glob(above):
                if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
                    raise StorageError(f"--raw {self.root}: {folder} may not be listed; mend its permissions")

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        if self._is_local:
            return bool(self._fs.exists(self._full(path)))
        with storage_errors(f"--raw {self.root}"):
            return self._folder.exists(self._full(path))

    def size(self, path: str) -> int:
        """Size of a file in bytes; one that `glob` found is not asked for again.

        A link to nothing has 0: its episodes fail when they are read, and cost no others.
        """
        if self._is_local:
            full = self._full(path)
            return 0 if os.path.islink(full) and not os.path.exists(full) else int(self._fs.size(full))
        with reading(self._where(path)):
            return self._folder.size(self._full(path))

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file."""
        if self._is_local:
            return bytes(self._fs.cat_file(self._full(path)))
        with reading(self._where(path)):
            return bytes(self._fs.cat_file(self._full(path)))

    def open(self, path: str, *, block_bytes: int = READ_BLOCK_BYTES) -> BinaryIO:
        """Open a file for reading from any place in it; see `RawTree`."""
        if self._is_local:
            return open(self._full(path), "rb")
        with reading(self._where(path)):
            file = self._fs.open(self._full(path), "rb", block_size=block_bytes, cache_type="readahead")
        return RangeFile(file, where=self._where(path))

    def local_path(self, path: str) -> str:
        """A path that C libraries can open; see `RawTree`."""
        if self._is_local:
            return self._full(path)
        return self._copies.path_of(self._full(path), where=self._where(path))

    def let_go(self) -> None:
        """Remove the copies that `local_path` made."""
        self._copies.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()
