"""Folders in TMPDIR for a process's temporary files; those of killed processes are removed by the next one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vita_data.storage.lock import Lock, try_lock

_LOCK = ".lock"


class Scratch:
    """A temporary folder that is locked as long as this object or a child forked with it lives."""

    def __init__(self, prefix: str) -> None:
        """Make a folder `PREFIX*`, after removing those that killed processes of this user have left."""
        _remove_abandoned(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        unnamed = self.path / f"{_LOCK}.new"
        self._lock = unnamed.open("wb")
        try_lock(self._lock)
        unnamed.rename(self.path / _LOCK)  # others see a lock only when it is held

    def remove(self) -> None:
        """Remove the folder; may be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder for a `with` block."""
    scratch = Scratch(prefix)
    try:
        yield scratch.path
    finally:
        scratch.remove()


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # A folder without a lock is being made, or somebody else's.
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / _LOCK).is_file():
                continue
            with (folder / _LOCK).open("rb") as file:
                if try_lock(file) is Lock.HELD:
                    shutil.rmtree(folder, ignore_errors=True)
