"""Refuses what is not a regular file inside the raw tree, before it is opened.

Opening a pipe waits for a writer, a device may never end, and a path from a description may lead anywhere.
"""

import errno
import os
import stat

from vita_data.errors import SourceError
from vita_data.formats.limits import MAX_TEXT_FILE_BYTES

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotReadError(SourceError, OSError):
    """A path that is not opened; readers treat it like a file that cannot be opened."""

    def __init__(self, message: str, *, what: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.what, self.advice = what, advice


def _not_read(name: str, what: str, advice: str) -> NotReadError:
    return NotReadError(f"{name}: {what}; {advice}", what=what, advice=advice)


def is_inside(path: str) -> bool:
    """Tell whether a relative path stays in the tree, or is a direct neighbour of its root (`../NAME`)."""
    return not path.startswith("/") and ".." not in path.split("/")[1:] and "\0" not in path


def is_below(path: str) -> bool:
    """Tell whether a path that a description names leads to a file below the description's own folder."""
    return not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def require_inside(path: str) -> None:
    """Refuse a path that leads out of the tree.

    Raises:
        NotReadError: it does.
    """
    if not is_inside(path):
        raise _not_read(f"{path!r:.200}", "a path outside --raw, which is not read", "remove it from the description")


def require_regular(path: str, *, name: str, max_bytes: int | None = None) -> None:
    """Refuse a pipe, a socket, a device, or a file that is too large to be read as a whole.

    Opening a missing file or a folder is left to the caller.

    Args:
        path: the path on this machine; links are followed.
        name: the path in messages.
        max_bytes: the greatest size; None for files that are read piece by piece.

    Raises:
        NotReadError: it is one of these.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return
    for is_kind, what in _KINDS:
        if is_kind(found.st_mode):
            raise _not_read(name, f"{what}, not a file", "replace it with the right file")
    if max_bytes is not None and found.st_size > max_bytes:
        raise too_large(name, found.st_size)


def too_large(name: str, num_bytes: int) -> NotReadError:
    """Return the error for a file that is too large to be read as a whole."""
    return _not_read(
        name, f"too large ({num_bytes} bytes, expected at most {MAX_TEXT_FILE_BYTES})", "replace it with the right file"
    )


def is_impossible(error: OSError) -> bool:
    """Tell whether no file can have such a name, so that it does not exist."""
    return error.errno == errno.ENAMETOOLONG
