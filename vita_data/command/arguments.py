"""Argument types of every command: paths, words, numbers, settings; a bad value is reported in one line.

Each argument with a value has one of these types or choices, so that the rules for paths (`~`, no empty text, UTF-8)
hold in every command.
"""

import argparse
import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vita_data.errors import RequestError
from vita_data.nearby import near_name
from vita_data.storage.files import AnyPath, expand_home, open_path, require_local

MAX_PORT = 65535
_T = TypeVar("_T")


def word(text: str) -> str:
    """Read a name, a key or another text, not a path."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a non-empty text, got an empty one")
    return _readable(text)


def setting(text: str) -> str:
    """Read `KEY=VALUE`; a value that begins with `~` is a path, in which `~` is expanded."""
    key, equals, value = word(text).partition("=")
    return f"{key}{equals}{expand_home(value)}"


def local_path(text: str) -> Path:
    """Read the path of a file or folder of this machine, which need not exist."""
    return _possible(Path(_asked(require_local, _path_text(text))))


def any_path(text: str) -> AnyPath:
    """Read a path of this machine or the address of an object store, which need not exist."""
    path = _asked(open_path, _path_text(text))
    return _possible(path) if isinstance(path, Path) else path


def address(text: str) -> str:
    """Read the same as text; its user opens the address and reports errors."""
    if "://" in _path_text(text):
        return text
    path = _asked(require_local, text)
    _possible(Path(path))
    return path


def local_folder(text: str) -> Path:
    """Read an existing folder of this machine."""
    path = local_path(text)
    _require_folder(path)
    return path


def any_folder(text: str) -> AnyPath:
    """Read an existing folder, or the address of a folder in a store, which is not checked yet."""
    path = any_path(text)
    if isinstance(path, Path):
        _require_folder(path)
    return path


def positive(text: str) -> int:
    """Read a whole number above 0."""
    return _whole(text, least=1, wanted="a whole number above 0")


def not_negative(text: str) -> int:
    """Read a whole number, 0 or more."""
    return _whole(text, least=0, wanted="a whole number, 0 or more")


def port(text: str) -> int:
    """Read a port of a network address; 0 means any free port."""
    return _whole(text, least=0, most=MAX_PORT, wanted=f"a port from 0 to {MAX_PORT}")


def positives(text: str) -> tuple[int, ...]:
    """Read comma-separated whole numbers above 0."""
    return tuple(positive(number.strip()) for number in word(text).split(","))


PATHS = (local_path, any_path, address, local_folder, any_folder)
"""The types of arguments that name files or folders."""


def _path_text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty text (is a shell variable unset?)")
    return _readable(text)


def _readable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"expected a text in UTF-8, got {text!r}; rename the file or folder") from None
    return text


def _possible(path: Path) -> Path:
    """Refuse a path that can never exist: below a file, too long, or a link to itself."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            file = next(one for one in path.parents if one.exists() and not one.is_dir())
            raise argparse.ArgumentTypeError(f"{path}: expected a folder above it, but {file} is a file") from error
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise argparse.ArgumentTypeError(f"{path}: {error.strerror}; give another path") from error
    return path


def _require_folder(path: Path) -> None:
    if not path.is_dir():
        hint = f"; it is a file, give a folder such as {path.parent}" if path.exists() else near_name(path)
        raise argparse.ArgumentTypeError(f"{path}: the folder does not exist{hint}")


def _whole(text: str, *, least: int, wanted: str, most: int | None = None) -> int:
    # int() would also accept 1_000, and fails with its own error at 4,300 digits.
    digits = text.removeprefix("-")
    value = int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
    if value is None or value < least or (most is not None and value > most):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return value


def _asked(read: Callable[[str], _T], text: str) -> _T:
    try:
        return read(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
