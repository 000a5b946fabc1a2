"""Locks on open files, so that two processes do not write to one run, build or temporary file."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any

from vita_data.errors import RequestError

LOCK = "lock"


class Lock(Enum):
    """What came of an attempt to lock a file."""

    HELD = "held until the file is closed or the process ends, however it ends"
    TAKEN = "another process holds it"
    UNKNOWN = "the file system has no locks"


def try_lock(file: IO[Any], *, shared: bool = False) -> Lock:
    """Lock an open file without waiting; a shared lock allows other shared ones."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.TAKEN
    except OSError:
        return Lock.UNKNOWN
    return Lock.HELD


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock while inside.

    Raises:
        RequestError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a") as file:
        keep_others_out(
            file, f"--out {run}: another process is training in this folder; wait until it ends, or give another folder"
        )
        yield


def is_held(run: Path) -> bool:
    """Tell whether another process holds the lock of a run's folder; False where the file system has no locks."""
    try:
        with (run / LOCK).open("rb") as file:
            return try_lock(file, shared=True) is Lock.TAKEN
    except OSError:
        return False


def keep_others_out(file: IO[Any], refusal: str, *, shared: bool = False) -> None:
    """Lock an open file until it is closed; without effect where the file system has no locks.

    Raises:
        RequestError: another process holds it; the message is `refusal`.
    """
    if try_lock(file, shared=shared) is Lock.TAKEN:
        raise RequestError(refusal)
