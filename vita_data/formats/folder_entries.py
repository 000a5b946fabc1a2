"""Which names of a folder are looked at: the matching that disks and object stores share.

Operating systems and file servers leave entries of their own in every folder that they touch. Some bear the suffix of
the file they belong to (`._demo.hdf5` beside `demo.hdf5`), and none of them is raw data.
"""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

_COMPANION = "._"
"""macOS keeps what another file system cannot store of NAME in `._NAME` (AppleDouble, RFC 1740)."""
_LEFT_BY_SYSTEMS = frozenset(
    {
        # macOS: the Finder, its archives and netatalk shares, indices, trash
        ".DS_Store",
        "__MACOSX",
        ".AppleDouble",
        ".AppleDB",
        ".AppleDesktop",
        ".Spotlight-V100",
        ".fseventsd",
        ".Trashes",
        ".TemporaryItems",
        ".DocumentRevisions-V100",
        # Windows
        "Thumbs.db",
        "desktop.ini",
        "$RECYCLE.BIN",
        "System Volume Information",
        # file servers and Linux disks; what a NetApp or Synology calls so holds copies of what lies beside it
        "@eaDir",
        ".snapshot",
        "lost+found",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or folder in a folder's listing."""

    name: str
    is_folder: bool
    target: str = ""
    """Where a link to a folder leads; empty for what is no such link."""


def is_left_by_system(name: str) -> bool:
    """Tell whether an operating system or a file server made a file or folder of this name, beside the data."""
    return name.startswith(_COMPANION) or name in _LEFT_BY_SYSTEMS


def level_matcher(level: str) -> Callable[[str], bool]:
    """Make the test of names for one level of a pattern; what systems leave behind never matches."""
    matches = re.compile(fnmatch.translate(level)).match
    return lambda name: matches(name) is not None and not is_left_by_system(name)
