"""Imports a source from a Python file that is not part of the package."""

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import cast

from vita_data.errors import RequestError, VitaDataError
from vita_data.nearby import near_name
from vita_data.types import Source, SourceInfo, SourceSettings

_NEEDED = ("INFO", "Settings", "parts", "episodes", "write_toy")
_PREFIX = "vita_source_file_"


def load_file(path: str) -> Source:
    """Import the source that a file defines: `SOURCE`, or the five names of a source.

    The same content is imported once, and under the same name in every process: workers restore its settings.

    Raises:
        RequestError: the file does not exist, cannot be imported, or defines no source.
    """
    file = Path(path).absolute()
    if not file.is_file():
        hint = near_name(Path(path)) or "; give a Python file"
        raise RequestError(f"--source-file {path}: the file does not exist{hint}")
    module = _imported(file, path)
    found: object = getattr(module, "SOURCE", module)
    return require_source(found, where=f"--source-file {path}")


def require_source(found: object, *, where: str) -> Source:
    """Return an object that has the five names of a source.

    Raises:
        RequestError: it lacks some, or they are of another kind; `where` says whose object it is.
    """
    missing = [name for name in _NEEDED if not hasattr(found, name)]
    if missing:
        what = "it defines neither SOURCE nor" if isinstance(found, ModuleType) else "SOURCE lacks"
        raise RequestError(f"{where}: {what} {', '.join(missing)} (see vita_data/sources/README.md)")
    info, settings = (getattr(found, name) for name in _NEEDED[:2])
    is_settings = isinstance(settings, type) and issubclass(settings, SourceSettings)
    if not isinstance(info, SourceInfo) or not is_settings:
        raise RequestError(f"{where}: INFO must be a SourceInfo, and Settings extend SourceSettings")
    return cast("Source", found)


def file_digest(path: str) -> str:
    """Hash the content of a source file: another content may read other values.

    Raises:
        RequestError: the file cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise RequestError(f"--source-file {path}: cannot be read ({error.strerror})") from error


def _imported(file: Path, asked: str) -> ModuleType:
    name = f"{_PREFIX}{file_digest(str(file))[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RequestError(f"--source-file {asked}: expected a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module while it is being imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        kind = "" if isinstance(error, VitaDataError) else f"{type(error).__name__}: "
        raise RequestError(f"--source-file {asked}: {_place(error, file)}{kind}{error}") from error
    return module


def _place(error: Exception, file: Path) -> str:
    """Name the line of the file that failed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return "" if line is None else f"line {line}: "
