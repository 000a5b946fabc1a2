"""The datasets: NAME.py, or a folder NAME with source.py, found by name without registration.

A raw tree comes in, episodes go out. `_shared` contains code that several datasets share.
"""

import importlib
from pathlib import Path
from typing import cast

from vita_data.errors import RequestError, did_you_mean
from vita_data.types import Source


def names() -> list[str]:
    """List the sources by the names of their files and folders, without importing them."""
    here = Path(__file__).parent
    files = [path.stem for path in here.glob("*.py") if not path.stem.startswith("_")]
    return sorted([*files, *(path.parent.name for path in here.glob("*/source.py"))])


def load(name: str) -> Source:
    """Import one source.

    Raises:
        RequestError: the source does not exist; names the nearest one.
    """
    if name not in names():
        hint = did_you_mean(name, names(), f"available sources: {', '.join(names())}")
        raise RequestError(f"unknown source {name!r}; {hint}")
    module = f"{name}.source" if (Path(__file__).parent / name).is_dir() else name
    return cast("Source", importlib.import_module(f"vita_data.sources.{module}"))
