"""Folders that get their final names, durably, only when complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vita_data.storage.files import sync


@contextmanager
def appearing(final: Path) -> Iterator[Path]:
    """Yield a temporary folder that gets its final name, durably, when the block ends without an error."""
    yield begin_folder(final)
    complete_folder(final)


def begin_folder(final: Path) -> Path:
    """Make the empty temporary folder of a final one; needs `complete_folder`."""
    temporary = temporary_for(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def complete_folder(final: Path) -> None:
    """Give the temporary folder its final name, durably."""
    temporary = temporary_for(final)
    for path in (*temporary.rglob("*"), temporary):
        sync(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    sync(final.parent)


def temporary_for(final: Path) -> Path:
    """Return the folder that `appearing` yields."""
    return final.with_name(f"{final.name}.tmp")
