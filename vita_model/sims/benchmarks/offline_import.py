"""Import simulators without prompts, downloads and noise on stdout."""

import builtins
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vita_data.errors import RequestError
from vita_model.sims.benchmarks.noise import Report, stdout_to_stderr

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@contextmanager
def quiet(benchmark: str) -> Iterator[Callable[[Report], Report]]:
    """Refuse prompts, disable hub downloads and send stdout to stderr inside the context.

    Yields:
        A function that makes a report of ours write to the real stdout.

    Raises:
        RequestError: the simulator asked for input; the message contains the question.
    """

    def refuse(prompt: object = "") -> str:
        raise RequestError(
            f"{benchmark} asks {str(prompt).strip()!r}; set it up by hand first, since vita-eval answers no prompts"
        )

    before, asked = {key: os.environ.get(key) for key in _OFFLINE}, builtins.input
    os.environ.update(_OFFLINE)
    builtins.input = refuse
    try:
        with stdout_to_stderr() as loud:
            yield loud
    finally:
        builtins.input = asked
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def package_folder(package: str) -> Path | None:
    """Find the folder of an installed package without importing it; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or [])
    return Path(places[0]) if places else None


def require_package(package: str, *, benchmark: str, remedy: str) -> Path:
    """Find an installed package without importing it.

    Raises:
        RequestError: the package is not installed; the message names the Python environment.
    """
    folder = package_folder(package)
    if folder is None:
        raise RequestError(f"{benchmark}: package {package!r} not found in {sys.prefix} or on PYTHONPATH; {remedy}")
    return folder


def require_path(path: Path, *, benchmark: str, what: str, remedy: str) -> Path:
    """Check that a file or folder of the user's installation exists.

    Raises:
        RequestError: the path does not exist; the message says what to do.
    """
    if not path.exists():
        raise RequestError(f"{benchmark}: {what} not found at {path}; {remedy}")
    return path


def load(module: str, *, benchmark: str, remedy: str) -> ModuleType:
    """Import a module of the user's installation.

    Raises:
        RequestError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RequestError(f"{benchmark}: {module} cannot be imported ({error}); {remedy}") from error
