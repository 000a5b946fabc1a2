"""Locks a run so that only one process writes to it: two would overwrite each other's log and checkpoints."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vita_data.errors import RequestError

LOCK = "lock"


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock while inside; the system releases it however the process ends.

    Raises:
        RequestError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a") as file:
        keep_others_out(
            file, f"--out {run}: another process is training in this folder; wait until it ends, or give another folder"
        )
        yield


def keep_others_out(file: IO[Any], refusal: str) -> None:
    """Lock an open file until it is closed; the system releases the lock however the process ends.

    Raises:
        RequestError: another process holds it; the message is `refusal`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        raise RequestError(refusal) from fault
    except OSError:
        pass  # a file system without locks
