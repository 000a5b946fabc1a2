"""The datasets: one file each, found by file name; nothing registers itself."""

import difflib
import importlib
from pathlib import Path
from typing import cast

from vita_data.errors import RequestError
from vita_data.types import Source


def names() -> list[str]:
    """List the sources by their file names, without importing them."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Source:
    """Import one source.

    Raises:
        RequestError: there is no such source; names the nearest one.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the sources are: {', '.join(names())}"
        raise RequestError(f"unknown source {name!r}; {hint}")
    return cast("Source", importlib.import_module(f"vita_data.sources.{name}"))
