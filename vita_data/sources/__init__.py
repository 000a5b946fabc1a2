"""The datasets: NAME.py, or a folder NAME with source.py, found by name without registration.

Sources of a user's own come from a Python file or from installed packages (entry-point group `vita.sources`). A raw
tree comes in, episodes go out. `_shared` contains code that several datasets share.
"""

import hashlib
import importlib
from pathlib import Path
from typing import cast

from vita_data.errors import RequestError, did_you_mean
from vita_data.sources._own.from_file import file_digest, load_file
from vita_data.sources._own.installed import installed_digest, installed_names, load_installed
from vita_data.types import Source


def names() -> list[str]:
    """List the sources that come with VITA by the names of their files and folders, without importing them."""
    here = Path(__file__).parent
    files = [path.stem for path in here.glob("*.py") if not path.stem.startswith("_")]
    return sorted([*files, *(path.parent.name for path in here.glob("*/source.py"))])


def added_names() -> list[str]:
    """List the sources of installed packages, except those with the name of a source that comes with VITA."""
    return [name for name in installed_names() if name not in names()]


def load(name: str, file: str = "") -> Source:
    """Import one source.

    Args:
        name: its name.
        file: the Python file that defines it, if it is neither in this package nor in an installed one.

    Raises:
        RequestError: the source does not exist; names the nearest one. Or the file does not define this source, or its
            package cannot be imported.
    """
    if file:
        source = load_own(file)
        if source.INFO.name != name:
            raise RequestError(f"--source-file {file}: expected source {name!r}, found {source.INFO.name!r}")
        return source
    if name not in names():
        added = added_names()
        if name in added:
            return load_installed(name)
        known = [*names(), *added]
        hint = did_you_mean(name, known, f"available sources: {', '.join(known)}")
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


def own_digest(name: str, file: str = "") -> str:
    """Hash what decides the values of a source of a user's own: its code, and the files that its `INFO` lists.

    Empty if it comes with VITA.

    Raises:
        RequestError: the code cannot be read.
    """
    if not file and name in names():
        return ""
    code = file_digest(file) if file else installed_digest(name)
    sums = load(name, file).INFO.file_sums
    return hashlib.sha256(" ".join((code, *sums)).encode()).hexdigest() if sums else code
