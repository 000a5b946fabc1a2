"""Reading a folder of a disk: listings level by level that follow links and refuse what they cannot see.

An episode that is not found is lost without a word, so nothing here takes a folder that cannot be listed, or a link
that leads nowhere, for an empty one.
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

# Folders are called `1.0.0` and `...173.00`, not `x.hdf5` or `x.tfrecord-00000-of-00002`.
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][^.]*$")
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class DiskFolder:
    """Finds what lies below the folder `base`; links to files and folders are followed at every level."""

    def __init__(self, base: str, *, where: str) -> None:
        """Name a folder.

        Args:
            base: its path on this machine.
            where: what messages call it.
        """
        self._base, self._where = base.rstrip("/"), where

    def glob(self, pattern: str) -> list[str]:
        """List files, folders and links that match, sorted, relative to `base`.

        A level without a wildcard is not listed: beside one file that is wanted may lie millions. Where a link leads to
        nothing, the file that would be wanted there is listed all the same: it fails when it is read.

        Raises:
            RequestError: a link leads back to itself or to a folder above it.
            StorageError: a folder may not be listed, or it is a link to nothing and a wildcard follows.
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
            os.stat(f"{folder}/.")  # names can be listed without the right to look at what they name
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
        """Tell whether more may be found in an entry; `is_known` if the file that is wanted there is.

        Assumes: a link to nothing that is named like a file (`.hdf5`) led to one.
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
                    "never "
                    "end; remove the link"
                )
        return True

    def entries(self, folder: str) -> list[Entry] | None:
        """List a folder with all that lies in it, but for links to folders of this tree; None: it may not be listed."""
        root = os.path.realpath(self._base)
        try:
            with os.scandir(folder or "/") as found:
                entries = [_entry(each) for each in found]
        except OSError:
            return None
        return [entry for entry in entries if not (entry.target and _is_within(entry.target, root))]

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there, or a link, be it to nothing: what that stands for fails when read.

        Raises:
            RequestError: a link on the way leads back to itself.
            StorageError: a folder on the way may not be entered, or is a link to nothing.
        """
        try:
            os.lstat(path)
        except FileNotFoundError:
            self._refuse_dangling_above(path)
            return False
        except NotADirectoryError:
            return False
        except OSError as error:
            raise self._refusal(path, "looked at", error) from error
        return True

    def size(self, path: str) -> int:
        """Size of a file in bytes; 0 of a link to nothing.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it may not be looked at.
        """
        try:
            return os.stat(path).st_size
        except OSError as error:
            if leads_nowhere(path):
                return 0
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise
            raise self._refusal(path, "looked at", error) from error

    def _refuse_dangling_above(self, path: str) -> None:
        """Refuse a path that is not there because a folder on the way to it is a link to nothing."""
        above, *names = self._base, *path.removeprefix(f"{self._base}/").split("/")
        for name in names:
            self._refuse_dangling(above)
            above = f"{above}/{name}"
        self._refuse_dangling(above)

    def _refuse_dangling(self, path: str) -> None:
        if is_dangling(path):
            raise StorageError(
                f"{self._where}: {self._shown(path)} is a broken link (target: {os.readlink(path)}); restore the "
                "target "
                f"(a lost mount?) or remove the link, and {AGAIN}"
            )

    def _refusal(self, path: str, verb: str, error: OSError) -> VitaDataError:
        """Make a refusal of what a disk answers, other than that a file or folder is absent.

        Raises:
            StorageError: the machine is to blame.
        """
        if isinstance(error, PermissionError):
            return self._forbidden(path)
        raise_machine_fault(error, f"{self._where}, {self._shown(path)}")
        hint = "; a link points back to itself; remove it" if error.errno == errno.ELOOP else ""
        return RequestError(f"{self._where}: {self._shown(path)} cannot be {verb} ({error.strerror}){hint}")

    def _forbidden(self, path: str) -> StorageError:
        """Name the folder that is to blame, which may lie above what was asked for."""
        while path != self._base and not _may_look_at(path):
            path = os.path.dirname(path)
        return StorageError(f"{self._where}: {forbidden(path or '/')}")

    def _shown(self, path: str) -> str:
        return path.removeprefix(f"{self._base}/")


def _entry(entry: "os.DirEntry[str]") -> Entry:
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link that leads back to itself
        is_folder = False
    target = os.path.realpath(entry.path) if is_folder and entry.is_symlink() else ""
    return Entry(name=entry.name, is_folder=is_folder, target=target)


def _is_within(path: str, root: str) -> bool:
    """Tell whether a real path lies in a real folder, is it, or is above it: walking on from there would not end."""
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
    """Tell whether a path is a link to nothing: what it named is gone, or it leads back to itself."""
    if not os.path.islink(path):
        return False
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in _LEADS_NOWHERE
    return False


def leads_nowhere(path: str) -> bool:
    """Tell whether nothing is at a path because it, or a folder above it, is a link to nothing."""
    return not os.path.exists(path) and any(map(is_dangling, (path, *map(str, PurePosixPath(path).parents))))
