"""Lists of episodes in a text file: one in each line, as `source<TAB>id` or, for a single source, only the id."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import RequestError, forbidden
from vita_data.nearby import near_name
from vita_data.storage.files import MAX_TABLE_BYTES, read_files, write_atomically

_BREAKS = ("\n", "\r")


@dataclass(frozen=True, slots=True)
class ListedId:
    """One line of a list of episodes."""

    line: int
    source: str
    """Empty if the line names none."""
    id: str


def write_ids(path: Path, episodes: Iterable[tuple[str, str]]) -> None:
    """Write the sources and ids of episodes, one in each line.

    Raises:
        RequestError: an id contains a line break, so that it cannot be a line.
    """
    lines: list[str] = []
    for source, id_ in episodes:
        if any(sign in id_ for sign in _BREAKS):
            raise RequestError(f"--ids {path}: the id {id_!r} of {source} contains a line break; use --json instead")
        lines.append(f"{source}\t{id_}\n")
    write_atomically(path, "".join(lines).encode())


def read_ids(path: Path, *, place: str) -> tuple[ListedId, ...]:
    """Read a list of episodes; empty lines are skipped.

    Args:
        path: the file.
        place: what names the file, for messages.

    Raises:
        RequestError: the file does not exist or is not a text in UTF-8.
        StorageError: it is a pipe, a device or far too long.
    """
    try:
        lines = re.split("\r\n|\r|\n", read_files([path], max_bytes=MAX_TABLE_BYTES)[0].decode("utf-8-sig"))
    except PermissionError as error:
        raise RequestError(f"{place}: {forbidden(path, error.errno)}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RequestError(
            f"{place}: {path} cannot be read as a list of episode ids ({why}){near_name(path)}"
        ) from error
    return tuple(_listed(number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _listed(number: int, line: str) -> ListedId:
    source, tab, id_ = line.partition("\t")
    return ListedId(number, source, id_) if tab else ListedId(number, "", line)
