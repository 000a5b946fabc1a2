"""Reads a folder on a disk: listings level by level that follow links and refuse folders that cannot be listed.

An episode that is not found would be lost silently, so an unreadable folder or a broken link is never treated as an
empty folder.
"""

import errno
import glob
import os
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from vita_data.errors import (
    AGAIN,
    RequestError,
    StorageError,
    VitaDataError,
    forbidden,
    raise_machine_fault,
)
from vita_data.formats.raw_tree.entries import Entry, level_matcher
from vita_data.formats.raw_tree.regular import is_impossible

# Folders have names like `1.0.0` and `...173.00`, but not `x.hdf5` or `x.tfrecord-00000-of-00002`.
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][^.]*$")
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class DiskFolder:
    """Finds files and folders below the folder `base`; links to files and folders are followed at every level."""

    def __init__(self, base: str, *, where: str) -> None:
        """Use a folder.

        Args:
            base: its path on this machine.
            where: its name in messages.
        """
        self._base, self._where = base.rstrip("/"), where

    def glob(self, pattern: str) -> list[str]:
        """List files, folders and links that match, sorted, relative to `base`.

        A level without a wildcard is not listed: a folder may contain millions of other files. For a broken link, the
        file that would be matched there is listed anyway: it fails when it is read.

        Raises:
            RequestError: a link points to itself or to a folder above it.
            StorageError: a folder may not be listed, or is a broken link in front of a wildcard.
        """
        found, levels = [self._base], pattern.split("/")
        for number, level in enumerate(levels):
            if glob.has_magic(level):
                found = [path for folder in found for path in self._matching(folder, level, levels[number + 1 :])]
            else:
                found = [f"{folder}/{level}" for folder in found]
                if number == len(levels) - 1:
                    found = [path for path in found if leads_nowhere(path) or self.exists(path)]
        return sorted(path.removeprefix(f"{self._base}/") for path in found)

    def _matching(self, folder: str, level: str, rest: Sequence[str]) -> list[str]:
        matches = level_matcher(level)
        try:
            with os.scandir(folder or "/") as entries:
                matching = [entry for entry in entries if matches(entry.name)]
            os.stat(f"{folder}/.")  # names may be listable without permission to stat them
        except FileNotFoundError:
            self._refuse_dangling_above(folder)
            return []
        except NotADirectoryError:
            return []
        except OSError as error:
            raise self._refusal(folder, "listed", error) from error
        is_known = not any(glob.has_magic(level) for level in rest)
        wanted = [entry for entry in matching if not rest or self._is_folder(folder, entry, is_known=is_known)]
        return [f"{folder}/{entry.name}" for entry in wanted]

    def _is_folder(self, folder: str, entry: "os.DirEntry[str]", *, is_known: bool) -> bool:
        """Tell whether an entry may contain more matches; `is_known` if the remaining path has no wildcard.

        Assumes: a broken link that is named like a file (`.hdf5`) pointed to a file.
        """
        path = f"{folder}/{entry.name}"
        try:
            is_folder = entry.is_dir()
        except OSError as error:
            raise self._refusal(path, "entered", error) from error
        if not is_folder:
            if _FILE_SUFFIX.search(entry.name) or not is_dangling(path):
                return False
            if not is_known:
                self._refuse_dangling(path)
            return True
        if entry.is_symlink():
            target = os.path.realpath(path)
            if f"{os.path.realpath(folder)}/".startswith(f"{target.rstrip('/')}/"):
                raise RequestError(
                    f"{self._where}: {self._shown(path)} is a link to a folder that contains it, so following it would "
                    "never end; remove the link"
                )
        return True

    def entries(self, folder: str) -> list[Entry] | None:
        """List all entries of a folder, except links to folders of this tree; None if it may not be listed."""
        root = os.path.realpath(self._base)
        try:
            with os.scandir(folder or "/") as found:
                entries = [_entry(each) for each in found]
        except OSError:
            return None
        return [entry for entry in entries if not (entry.target and _is_within(entry.target, root))]

    def exists(self, path: str) -> bool:
        """Tell whether a file, folder or link exists; a broken link counts, since its file fails when read.

        Raises:
            RequestError: a link in the path points to itself.
            StorageError: a folder in the path may not be entered, or is a broken link.
        """
        try:
            os.lstat(path)
        except FileNotFoundError:
            self._refuse_dangling_above(path)
            return False
        except NotADirectoryError:
            return False
        except OSError as error:
            if is_impossible(error):
                return False
            raise self._refusal(path, "accessed", error) from error
        return True

    def size(self, path: str) -> int:
        """Size of a file in bytes; 0 for a broken link.

        Raises:
            FileNotFoundError: the file does not exist.
            StorageError: this user may not stat it.
        """
        try:
            return os.stat(path).st_size
        except OSError as error:
            if leads_nowhere(path):
                return 0
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise
            raise self._refusal(path, "accessed", error) from error

    def _refuse_dangling_above(self, path: str) -> None:
        """Refuse a path that does not exist because a folder in it is a broken link."""
        above, *names = self._base, *path.removeprefix(f"{self._base}/").split("/")
        for name in names:
            self._refuse_dangling(above)
            above = f"{above}/{name}"
        self._refuse_dangling(above)

    def _refuse_dangling(self, path: str) -> None:
        if is_dangling(path):
            raise StorageError(
                f"{self._where}: {self._shown(path)} is a broken link (target: {os.readlink(path)}); restore the "
                f"target (a lost mount?) or remove the link, and {AGAIN}"
            )

    def _refusal(self, path: str, verb: str, error: OSError) -> VitaDataError:
        """Make the error for a disk's answer other than a missing file or folder.

        Raises:
            StorageError: the machine is to blame.
        """
        if isinstance(error, PermissionError):
            return self._forbidden(path)
        raise_machine_fault(error, f"{self._where}, {self._shown(path)}")
        hint = "; a link points back to itself; remove it" if error.errno == errno.ELOOP else ""
        return RequestError(f"{self._where}: {self._shown(path)} cannot be {verb} ({error.strerror}){hint}")

    def _forbidden(self, path: str) -> StorageError:
        """Name the folder that is not accessible, which may be above the requested path."""
        while path != self._base and not _may_look_at(path):
            path = os.path.dirname(path)
        return StorageError(f"{self._where}: {forbidden(path or '/')}")

    def _shown(self, path: str) -> str:
        return path.removeprefix(f"{self._base}/")


def _entry(entry: "os.DirEntry[str]") -> Entry:
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link that points to itself
        is_folder = False
    target = os.path.realpath(entry.path) if is_folder and entry.is_symlink() else ""
    return Entry(name=entry.name, is_folder=is_folder, target=target)


def _is_within(path: str, root: str) -> bool:
    """Tell whether a real path is in, equal to, or above a real folder, so that walking on from there would not end."""
    return os.path.commonpath([path, root]) in (path, root)


def _may_look_at(path: str) -> bool:
    try:
        os.lstat(path)
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def is_dangling(path: str) -> bool:
    """Tell whether a path is a broken link: its target is missing, or it points to itself."""
    if not os.path.islink(path):
        return False
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in _LEADS_NOWHERE
    return False


def leads_nowhere(path: str) -> bool:
    """Tell whether a path does not exist because it, or a folder above it, is a broken link."""
    return not os.path.exists(path) and any(map(is_dangling, (path, *map(str, PurePosixPath(path).parents))))
