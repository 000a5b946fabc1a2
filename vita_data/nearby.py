"""Suggests, at the end of a message, which path was meant: a level too deep or too high, or misspelled."""

import difflib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from vita_data.storage.files import AnyPath

MAX_ABOVE, MAX_BELOW = 4, 200
"""Limits of the search: levels up, and folders one level down."""
_MAX_TOLD = 5
_SAME_WORD = 0.8
"""Similarity (0 to 1) from which a name counts as a misspelling of another."""


def meant(folder: AnyPath, fits: Callable[[AnyPath], bool]) -> str:
    """Return which nearby folders fit, as `; give shards/bridge`; empty if none does.

    Args:
        folder: the given folder, which does not fit; it need not exist.
        fits: tells whether a folder fits; an exception (missing permissions or files) counts as no.
    """
    below = sorted(path for path in islice(_children(folder), MAX_BELOW) if _does(fits, path))
    return advice([str(path) for path in below or islice(filter(lambda one: _does(fits, one), above(folder)), 1)])


def near_name(path: AnyPath) -> str:
    """Suggest a path with a similar name for a missing file or folder: `; did you mean shards3?`.

    Every error about a path that does not exist ends in this. Empty if the path exists, or nothing beside is similar.
    """
    near = _similar(path, MAX_ABOVE)
    return f"; did you mean {near}?" if near else ""


def advice(found: list[str]) -> str:
    """Format folders that fit as the end of a message."""
    if len(found) < 2:
        return "".join(f"; give {path}" for path in found)
    more = f" and {len(found) - _MAX_TOLD} more" if len(found) > _MAX_TOLD else ""
    return f"; give one of {', '.join(found[:_MAX_TOLD])}{more}"


def above(folder: AnyPath) -> list[AnyPath]:
    """List the folders above one, nearest first; `.` means the working folder."""
    parents: list[AnyPath] = [*folder.parents] or [*folder.absolute().parents]
    return parents[:MAX_ABOVE]


def _similar(path: AnyPath, levels: int) -> AnyPath | None:
    """Find what lies beside a path, or beside a missing folder above it; None if the path exists."""
    folder = path.parent
    if levels and isinstance(folder, Path) and not os.path.exists(folder):
        found = _similar(folder, levels - 1)
        if found is None or os.path.exists(str(found / path.name)):
            return found and found / path.name
        folder = found
    beside = {one.name: one for one in islice(_children(folder), MAX_BELOW)}
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=_SAME_WORD)
    return beside[near[0]] if near and near[0] != path.name else None


def _children(folder: AnyPath) -> Iterator[AnyPath]:
    # A file, a missing or unreadable folder, a store that does not answer: nothing to suggest.
    with suppress(Exception):
        yield from folder.iterdir()


def _does(fits: Callable[[AnyPath], bool], path: AnyPath) -> bool:
    try:
        return (not isinstance(path, Path) or path.is_dir()) and fits(path)
    except Exception:  # noqa: BLE001 - advice must not hide the fault that it goes with
        return False
