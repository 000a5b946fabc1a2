"""A raw dataset folder accessed with fsspec, so that sources read local paths and object stores in the same way."""

import os
import posixpath
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

import fsspec

from vita_data.errors import RequestError, StorageError
from vita_data.formats.limits import MAX_TEXT_FILE_BYTES
from vita_data.formats.raw_tree.disk import DiskFolder, is_dangling, leads_nowhere
from vita_data.formats.raw_tree.entries import Entry
from vita_data.formats.raw_tree.hub import SCHEME, HubCopies, HubFolder, HubObjects, open_hub
from vita_data.formats.raw_tree.objects import Copies, ObjectFolder, RangeFile, reading
from vita_data.formats.raw_tree.regular import is_inside, require_inside, require_regular, too_large
from vita_data.formats.raw_tree.twice import find_twice
from vita_data.nearby import near_name
from vita_data.storage.files import is_local_fs, require_local, require_store, storage_errors, store_options, unopened
from vita_data.types import READ_BLOCK_BYTES


def _ignore_path(path: str) -> None:
    pass


def _ignore() -> None:
    pass


RAW_OPTION = "--raw"
"""The option that most commands are given a tree by."""


class FsspecTree:
    """A read-only folder; every path is relative to its root and uses `/`.

    Leaving a `with` block, or `let_go`, removes the local copies of files from an object store.
    """

    def __init__(
        self,
        root: str,
        *,
        option: str = RAW_OPTION,
        on_open: Callable[[str], None] = _ignore_path,
        on_answer: Callable[[], None] = _ignore,
    ) -> None:
        """Open the folder.

        Args:
            root: path or URL.
            option: the option that it was given by, for messages.
            on_open: is called with the path of each file before it is opened.
            on_answer: is called when the disk or store has answered, for each block that is fetched from a store.

        Raises:
            RequestError: the folder does not exist, or the address cannot be read.
            StorageError: the disk or store does not answer or denies access.
        """
        self.root, self.where = root, f"{option} {root}"
        self._on_open, self._on_answer = on_open, on_answer
        self.address = root
        """The same with the commit of the hub that is read, for other processes."""
        self._folder: DiskFolder | ObjectFolder
        hub = open_hub(root, self.where) if root.startswith(SCHEME) else None
        if isinstance(hub, HubFolder):
            self._open_hub(hub)
            return
        place = root if hub is None else str(hub)
        if "://" not in place:
            try:
                require_local(place)
            except RequestError as error:
                raise RequestError(f"{option} {error}") from None
        try:
            self._fs, self._base = fsspec.core.url_to_fs(place, **store_options(place))
        except (ImportError, ValueError) as error:
            reason = unopened(root, error)
            raise RequestError(f"{self.where}: this kind of address cannot be read ({reason})") from error
        self._is_local = is_local_fs(self._fs)
        self._copies = Copies(self._fs, on_answer=on_answer)
        if self._is_local:
            self._folder = DiskFolder(self._base, where=self.where)
            _require_directory(self._base, root, self.where)
            return
        self._folder = ObjectFolder(self._fs, self._base.rstrip("/"))
        require_store(self._fs, self._base, address=self.where)
        with storage_errors(self.where):
            self._require_folder()

    def _open_hub(self, hub: HubFolder) -> None:
        self._fs, self._base, self._is_local = hub.fs, hub.address.path, False
        self.address = f"{SCHEME}{self._base}"
        self._copies = HubCopies(hub, on_answer=self._on_answer)
        self._folder = HubObjects(self._fs, self._base)
        with storage_errors(self.where):
            if not self._folder.exists(self._base):
                raise RequestError(f"{self.where}: the folder does not exist in the dataset {hub.address.repo}")
            self._require_folder()

    def _require_folder(self) -> None:
        try:
            found = self._fs.info(self._base)
        except FileNotFoundError:
            bucket = self._base.split("/")[0]
            if self._fs.exists(bucket):
                raise RequestError(f"{self.where}: the folder does not exist in the bucket {bucket}") from None
            raise StorageError(
                f"{self.where}: the bucket {bucket} does not exist; check its name and which store is used "
                "(for S3: AWS_ENDPOINT_URL), then run the same command again"
            ) from None
        if found["type"] != "directory":
            raise RequestError(f"{self.where} is a file; give the folder that contains it")

    def _full(self, path: str) -> str:
        require_inside(path)
        full = posixpath.join(self._base, path) if self._is_local else str(PurePosixPath(self._base) / path)
        if ".." not in path.split("/"):
            return full
        outer = posixpath.normpath(full)
        if self._is_local:
            # A neighbour of a linked folder may be beside the link or beside the link's target.
            return full if os.path.lexists(full) else outer
        # In an object store `..` is an ordinary name. There is nothing above a bucket.
        return outer if outer.startswith(f"{self._base.split('/')[0]}/") else full

    def _where(self, path: str) -> str:
        return f"{self.where}, {path}"

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted; see `RawTree`."""
        self._on_answer()
        if isinstance(self._folder, DiskFolder):
            return self._folder.glob(pattern)
        with storage_errors(self.where):
            return self._folder.glob(pattern)

    def list_folder(self, path: str) -> list[Entry] | None:
        """List all entries of a folder ("" is the root); None if it may not be listed.

        Links to folders of the same tree are omitted: their targets are listed in their own place.
        """
        full = self._full(path).rstrip("/")
        if isinstance(self._folder, DiskFolder):
            return self._folder.entries(full)
        with storage_errors(self.where):
            return self._folder.entries(full)

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder exists; see `RawTree`. Nothing outside the tree does."""
        if not is_inside(path):
            return False
        if isinstance(self._folder, DiskFolder):
            return self._folder.exists(self._full(path))
        with storage_errors(self.where):
            return self._folder.exists(self._full(path))

    def is_dangling(self, path: str) -> bool:
        """Tell whether a path is, or is below, a broken link; an object store has no links."""
        return self._is_local and is_inside(path) and leads_nowhere(self._full(path))

    def find_twice(self, paths: Sequence[str]) -> tuple[str, str] | None:
        """Return two of the paths that are the same file or folder; see `RawTree`."""
        return find_twice(self._base, paths) if self._is_local else None

    def size(self, path: str) -> int:
        """Size of a file in bytes; see `RawTree`. Sizes that `glob` found in a store are not requested again."""
        self._on_answer()
        if isinstance(self._folder, DiskFolder):
            return self._folder.size(self._full(path))
        with reading(self._where(path)):
            return self._folder.size(self._full(path))

    def read_bytes(self, path: str) -> bytes:
        """Return the whole content of a small file."""
        self._on_open(path)
        if self._is_local:
            require_regular(self._full(path), name=path, max_bytes=MAX_TEXT_FILE_BYTES)
            with open(self._full(path), "rb") as file:
                return file.read()
        with reading(self._where(path)):
            if (num_bytes := self._folder.size(self._full(path))) > MAX_TEXT_FILE_BYTES:
                raise too_large(path, num_bytes)
            if isinstance(self._copies, HubCopies):
                return Path(self.local_path(path)).read_bytes()
            return bytes(self._fs.cat_file(self._full(path)))

    def open(self, path: str, *, block_bytes: int = READ_BLOCK_BYTES) -> BinaryIO:
        """Open a file for random access; see `RawTree`."""
        self._on_open(path)
        if self._is_local:
            require_regular(self._full(path), name=path)
            return open(self._full(path), "rb")
        if (copy := self._copies.find(self._full(path))) is not None:
            return open(copy, "rb")
        with reading(self._where(path)):
            file = self._fs.open(self._full(path), "rb", block_size=block_bytes, cache_type="readahead")
        return RangeFile(file, where=self._where(path), on_answer=self._on_answer)

    def local_path(self, path: str) -> str:
        """Return a path that C libraries can open; see `RawTree`."""
        self._on_open(path)
        if self._is_local:
            require_regular(self._full(path), name=path)
            return self._full(path)
        return self._copies.path_of(self._full(path), where=self._where(path))

    def let_go(self) -> None:
        """Remove the copies that `local_path` made."""
        self._copies.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()


def _require_directory(base: str, root: str, where: str) -> None:
    with storage_errors(where):
        try:
            is_folder = stat.S_ISDIR(os.stat(base).st_mode)
        except FileNotFoundError:
            what = "a broken link" if is_dangling(base) else "the folder does not exist"
            raise RequestError(f"{where}: {what}{near_name(Path(root))}") from None
    if not is_folder:
        raise RequestError(f"{where} is a file; give the folder that contains it")
