"""Suggests which folder was meant by `--raw` if a source does not find its layout in the given one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from upath import UPath

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.raw_tree.unread import AskedTree
from vita_data.nearby import MAX_BELOW, above, advice
from vita_data.shards.index import is_built
from vita_data.storage.files import AnyPath
from vita_data.types import Source, SourceSettings

_PATIENCE_S = 3.0
"""How long an error may wait for its suggestion: a tree may have millions of files."""


@contextmanager
def raw_advice(source: Source, raw: str, settings: SourceSettings) -> Iterator[None]:
    """Add to an error about `raw` which nearby folder has the source's layout, for a `with` block.

    Raises:
        RequestError: the error of the block, with the suggestion at its end.
    """
    try:
        yield
    except RequestError as error:
        if what := _other_folder(raw):
            raise RequestError(f"--raw {raw}: {what}; give the folder that contains the owner's download") from error
        # An error that names a setting already says what to change, and the folder is the right one.
        hint = "" if "--set" in str(error) else _meant(source, raw, settings)
        if not hint:
            raise
        raise type(error)(f"{error}{hint}") from error


def _other_folder(raw: str) -> str:
    """Describe a local folder that cannot contain raw data; empty if it may contain some."""
    with suppress(OSError):
        folder = Path(raw)
        if "://" in raw or not folder.is_dir():
            return ""
        if is_built(folder):
            return "this is a built source, not raw data"
        return "" if any(folder.iterdir()) else "the folder is empty"
    return ""


def holds_raw(source: Source, folder: str) -> bool:
    """Tell whether a folder contains raw data of a source; False if that takes too long to find out."""
    return _holds(source, folder, source.Settings(), time.monotonic() + _PATIENCE_S)


def _meant(source: Source, raw: str, settings: SourceSettings) -> str:
    found: list[str] = []
    search = threading.Thread(target=_search, args=(source, raw, settings, found), daemon=True)
    search.start()
    search.join(_PATIENCE_S)
    return advice(list(found))


def _search(source: Source, raw: str, settings: SourceSettings, found: list[str]) -> None:
    """Collect the folders below that fit, or the one beside that is called like the source, or the nearest above."""
    end_s = time.monotonic() + _PATIENCE_S
    with suppress(Exception), _HastyTree(raw, end_s=end_s) as tree:  # it may be a file, missing, or not an address
        below = [f"{raw.rstrip('/')}/{name}" for name in tree.glob("*")[:MAX_BELOW]]
        found.extend(folder for folder in below if _holds(source, folder, settings, end_s))
    with suppress(Exception):
        path = UPath(raw) if "://" in raw else Path(raw).absolute()
        beside = path.parent / source.INFO.name
        if not found and beside != path and beside.is_dir() and _holds(source, str(beside), settings, end_s):
            found.append(str(beside))
        higher = [] if found else above(path)
        within = next(folder for folder in (path, *higher) if folder.is_dir())
        fitting = (str(folder) for folder in higher if _reads(source, folder, within, settings, end_s))
        found.extend(islice(fitting, 1))


def _holds(source: Source, folder: str, settings: SourceSettings, end_s: float, *, within: str = "") -> bool:
    """Tell whether, before the time limit, a source finds parts in a folder and reads some file `within` it."""
    try:
        with _HastyTree(folder, end_s=end_s) as tree:
            asked = AskedTree(tree)
            parts = source.parts(asked, settings)
            names = [*asked.asked, *(part.id.partition("#")[0] for part in parts)]
            return bool(parts) and any(not within or f"{name}/".startswith(f"{within}/") for name in names)
    except Exception:  # noqa: BLE001 - advice must not hide the fault that it goes with
        return False


def _reads(source: Source, folder: AnyPath, within: AnyPath, settings: SourceSettings, end_s: float) -> bool:
    """Tell whether a source would read the content of `within` if given that folder or one above it."""
    if folder not in (within, *within.parents):
        return False
    below = str(within)[len(str(folder)) :].strip("/")
    return _holds(source, str(folder), settings, end_s, within=below)


class _HastyTree(FsspecTree):
    """A raw tree whose calls fail after a point in time."""

    def __init__(self, root: str, *, end_s: float) -> None:
        super().__init__(root)
        self._end_s = end_s

    def glob(self, pattern: str) -> list[str]:
        """List as a tree does, until the time limit."""
        self._require_time()
        return super().glob(pattern)

    def size(self, path: str) -> int:
        """Return a size as a tree does, until the time limit."""
        self._require_time()
        return super().size(path)

    def _require_time(self) -> None:
        if time.monotonic() > self._end_s:
            raise TimeoutError("the time limit of the search for a hint is over")
