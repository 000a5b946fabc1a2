"""The datasets: NAME.py, or a folder NAME with source.py, found by name without registration.

A raw tree comes in, episodes go out. `_shared` contains code that several datasets share.
"""

import importlib
from pathlib import Path
from typing import cast

from vita_data.errors import RequestError, did_you_mean
from vita_data.sources._from_file import load_file
from vita_data.types import Source


def names() -> list[str]:
    """List the sources by the names of their files and folders, without importing them."""
    here = Path(__file__).parent
    files = [path.stem for path in here.glob("*.py") if not path.stem.startswith("_")]
    return sorted([*files, *(path.parent.name for path in here.glob("*/source.py"))])


def load(name: str, file: str = "") -> Source:
    """Import one source.

    Args:
        name: its name.
        file: the Python file that defines it, if it is not one of the package.

    Raises:
        RequestError: the source does not exist; names the nearest one. Or the file does not define this source.
    """
    if file:
        source = load_own(file)
        if source.INFO.name != name:
            raise RequestError(f"--source-file {file}: expected source {name!r}, found {source.INFO.name!r}")
        return source
    if name not in names():
        hint = did_you_mean(name, names(), f"available sources: {', '.join(names())}")
        raise RequestError(f"unknown source {name!r}; {hint}")
    module = f"{name}.source" if (Path(__file__).parent / name).is_dir() else name
    return cast("Source", importlib.import_module(f"vita_data.sources.{module}"))


def load_own(file: str) -> Source:
    """Import the source that a user's own Python file defines.

    Raises:
        RequestError: the file defines no source, or one with the name of a source of the package.
    """
    source = load_file(file)
    if source.INFO.name in names():
        raise RequestError(
            f"--source-file {file}: the name {source.INFO.name!r} belongs to a source that comes with VITA; use another"
        )
    return source
