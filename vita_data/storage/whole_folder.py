"""Folders that appear under their names only when whole, and durably."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(final: Path) -> Iterator[Path]:
    """Give a temporary folder that takes its final name, durably, when what is written into it is whole."""
    temporary = temporary_for(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def temporary_for(final: Path) -> Path:
    """Name the folder that `appearing` gives."""
    return final.with_name(f"{final.name}.tmp")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
