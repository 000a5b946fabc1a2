"""Finds and imports sources of installed packages, which name them in the entry-point group `vita.sources`."""

import hashlib
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.sources._own.from_file import file_digest, require_source
from vita_data.types import Source

GROUP = "vita.sources"


def installed_names() -> list[str]:
    """List the names that installed packages give to their sources, without importing them."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_installed(name: str) -> Source:
    """Import the source of an installed package.

    Raises:
        RequestError: two packages have a source of this name, or the package's module cannot be imported or defines no
            such source.
    """
    entry = _entry(name)
    where = f"source {name!r} of the package {_package(entry)}"
    try:
        found: object = entry.load()
    except Exception as error:
        raise RequestError(f"{where}: {entry.value} cannot be imported: {type(error).__name__}: {error}") from error
    source = require_source(getattr(found, "SOURCE", found), where=where)
    if source.INFO.name != name:
        raise RequestError(f"{where}: expected INFO.name {name!r}, found {source.INFO.name!r}")
    return source


def installed_digest(name: str) -> str:
    """Hash the content of a source's module or, if it is in a folder, of all modules of this folder.

    Raises:
        RequestError: as in `load_installed`, or a file cannot be read.
    """
    entry = _entry(name)
    spec = importlib.util.find_spec(entry.module.partition(".")[0])
    if spec is None or spec.origin is None:
        raise RequestError(f"source {name!r} of the package {_package(entry)}: found no file of {entry.module}")
    if not spec.submodule_search_locations:
        return file_digest(spec.origin)
    digest, folder = hashlib.sha256(), Path(spec.origin).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_digest(str(path))}\n".encode())
    return digest.hexdigest()


def _entry(name: str) -> EntryPoint:
    first, *others = entry_points(group=GROUP, name=name)
    if any(other.value != first.value for other in others):
        both = " and ".join(_package(entry) for entry in (first, *others))
        raise RequestError(f"source {name!r}: the packages {both} have one of this name; uninstall all but one")
    return first


def _package(entry: EntryPoint) -> str:
    return "(unknown)" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
