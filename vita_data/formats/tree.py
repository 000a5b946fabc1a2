"""A raw dataset folder behind fsspec, so that sources read local paths and object stores alike."""

import glob
from functools import cached_property
from pathlib import PurePosixPath

import fsspec

from vita_data.errors import RequestError


class FsspecTree:
    """A read-only folder; every path is relative to its root and uses `/`."""

    def __init__(self, root: str) -> None:
        self.root = root
        try:
            self._fs, self._base = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise RequestError(f"--raw {root}: this kind of address cannot be read here ({error})") from error
        if not self._is_local:
            raise RequestError(f"--raw {root}: only local paths can be read so far; copy the tree to a disk")
        if not self._fs.isdir(self._base):
            raise RequestError(f"--raw {root}: no such directory")

    @cached_property
    def _is_local(self) -> bool:
        return "file" in self._fs.protocol if isinstance(self._fs.protocol, tuple) else self._fs.protocol == "file"

    def _full(self, path: str) -> str:
        return str(PurePosixPath(self._base) / path)

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted; `*` stays inside one level."""
        prefix = self._base.rstrip("/") + "/"
        found = self._fs.glob(f"{glob.escape(self._base.rstrip('/'))}/{pattern}")
        return sorted(str(path).removeprefix(prefix) for path in found)

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        return bool(self._fs.exists(self._full(path)))

    def size(self, path: str) -> int:
        """Size of a file in bytes."""
        return int(self._fs.size(self._full(path)))

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file."""
        return bytes(self._fs.cat_file(self._full(path)))

    def local_path(self, path: str) -> str:
        """A path that C libraries can open."""
        return self._full(path)
