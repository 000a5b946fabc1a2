"""Which names of a folder are looked at: the matching that disks and object stores share.

Operating systems, file servers and programs leave entries of their own in every folder that they touch. Some bear the
name or the suffix of raw data (`._demo.hdf5` beside `demo.hdf5`, `.Trash-1000/files/demo.hdf5`); none of them is any.
"""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

_HIDDEN = "."
"""macOS keeps what another file system cannot store of NAME in `._NAME` (AppleDouble, RFC 1740). So are named indices,
trash, snapshots, unfinished copies (rsync), deleted files that are still open (NFS), and what Git and Jupyter keep."""
_LEFT_BY_SYSTEMS = frozenset(
    {
        "__MACOSX",
        # Windows
        *("Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
        # file servers (NetApp, QNAP, Synology) and Linux disks: trash, and copies of what lies beside them
        *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "~snapshot", "lost+found"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or folder in a folder's listing."""

    name: str
    is_folder: bool
    target: str = ""
    """Where a link to a folder leads; empty for what is no such link."""


def level_matcher(level: str) -> Callable[[str], bool]:
    """Make the test of names for one level of a pattern; hidden ones and what systems leave behind never match."""
    matches = re.compile(fnmatch.translate(level)).match
    return lambda name: matches(name) is not None and not name.startswith(_HIDDEN) and name not in _LEFT_BY_SYSTEMS
