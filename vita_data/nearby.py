"""Which folder was meant where the given one lies a level too deep or too high: the end of a message."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from vita_data.storage.files import AnyPath

MAX_ABOVE, MAX_BELOW = 4, 200
"""Folders that are looked at: as many levels up, and so many one level down."""
_MAX_TOLD = 5
_SAME_WORD = 0.8
"""Likeness, of 1, of two names that are taken for one and the same, misspelt."""


def meant(folder: AnyPath, fits: Callable[[AnyPath], bool]) -> str:
    """Say which folders nearby fit, as `; give shards/bridge`; nothing where none does.

    Args:
        folder: what was given and does not fit; it need not be there.
        fits: tells whether a folder would do; what it raises for want of rights or files counts as no.
    """
    below = sorted(path for path in islice(_children(folder), MAX_BELOW) if _does(fits, path))
    return advice([str(path) for path in below or islice(filter(lambda one: _does(fits, one), above(folder)), 1)])


def near_name(path: AnyPath) -> str:
    """Name what lies beside an absent file or folder and is called nearly the same: `; did you mean shards3?`."""
    beside = {one.name: one for one in islice(_children(path.parent), MAX_BELOW)}
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=_SAME_WORD)
    return f"; did you mean {beside[near[0]]}?" if near else ""


def advice(found: list[str]) -> str:
    """Name folders that would do, at the end of a message."""
    if len(found) < 2:
        return "".join(f"; give {path}" for path in found)
    more = f" and {len(found) - _MAX_TOLD} more" if len(found) > _MAX_TOLD else ""
    return f"; give one of {', '.join(found[:_MAX_TOLD])}{more}"


def above(folder: AnyPath) -> list[AnyPath]:
    """List the folders above one, the nearest first; those above the working folder where that was given as `.`."""
    parents: list[AnyPath] = [*folder.parents] or [*folder.absolute().parents]
    return parents[:MAX_ABOVE]


def _children(folder: AnyPath) -> Iterator[AnyPath]:
    # A file, an absent folder, one that may not be listed, a store that does not answer: there is nothing to advise.
    with suppress(Exception):
        yield from folder.iterdir()


def _does(fits: Callable[[AnyPath], bool], path: AnyPath) -> bool:
    try:
        return (not isinstance(path, Path) or path.is_dir()) and fits(path)
    except Exception:  # noqa: BLE001 - advice must not hide the fault that it goes with
        return False
