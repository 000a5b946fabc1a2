"""Which names in a folder are matched; shared by disks and object stores.

Operating systems, file servers and programs create entries in folders that they use. Some have the name or the suffix
of raw data (`._demo.hdf5` beside `demo.hdf5`, `.Trash-1000/files/demo.hdf5`), but none of them is raw data.
"""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

_HIDDEN = "."
"""macOS stores what another file system cannot keep of NAME in `._NAME` (AppleDouble, RFC 1740). Hidden names are also
used by indices, trash, snapshots, unfinished copies (rsync), deleted but open files (NFS), Git and Jupyter."""
_LEFT_BY_SYSTEMS = frozenset(
    {
        "__MACOSX",
        # Windows
        *("Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
        # file servers (NetApp, QNAP, Synology) and Linux disks: trash, and copies of neighbouring files
        *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "~snapshot", "lost+found"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or folder in a folder's listing."""

    name: str
    is_folder: bool
    target: str = ""
    """The target of a link to a folder; empty otherwise."""


def level_matcher(level: str) -> Callable[[str], bool]:
    """Make the name test for one level of a pattern; hidden names and system files never match."""
    matches = re.compile(fnmatch.translate(level)).match
    return lambda name: matches(name) is not None and not name.startswith(_HIDDEN) and name not in _LEFT_BY_SYSTEMS
