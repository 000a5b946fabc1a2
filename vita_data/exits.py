"""How a command ends: errors as one line on stderr, and its exit code."""

import argparse
import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from vita_data import __version__
from vita_data.errors import FORBIDDEN, RequestError, VitaDataError, forbidden, install_extra

_EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "safetensors", "huggingface_hub", "tokenizers", "tensorboard"), "train"),
    **dict.fromkeys(("aiohttp", "msgpack", "websockets"), "serve"),
}
"""Packages that are there only with an extra of this distribution."""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, `--help` has the rest; tells the command's version."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        command, *verbs = self.prog.split()
        shown = argparse.SUPPRESS if verbs else "print the version and exit"
        self.add_argument("--version", action="version", version=f"{command} {__version__}", help=shown)

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def one_line(text: str) -> str:
    """Write a message in one line that any terminal shows: a path of the user's may hold anything."""
    words = " ".join(text.split())
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in words)


def exit_code(program: str, command: Callable[[], int | None], *, interrupted: str, remedy: str = "") -> int:
    """Run a command; returns its exit code.

    Args:
        program: whose name begins the line.
        command: gives a code of its own, or None for 0.
        interrupted: what is said of Ctrl-C.
        remedy: what is said to do about a fault of the machine.

    Returns:
        0 done, 1 data or files are bad, Ctrl-C or nobody reads on (`| head`), 2 a bad request.
    """
    code, told = _run(command, interrupted, remedy)
    unsaid = _flush()
    told = told or unsaid
    if told:
        print(f"{program}: {one_line(told)}", file=sys.stderr)
    return code or int(unsaid is not None)


def _run(command: Callable[[], int | None], interrupted: str, remedy: str) -> tuple[int, str | None]:
    """Give the code and the line."""
    try:
        return command() or 0, None
    except VitaDataError as fault:
        return fault.exit_code, str(fault)
    except ModuleNotFoundError as fault:
        extra = _EXTRAS.get((fault.name or "").partition(".")[0])
        if extra is None:
            raise
        return RequestError.exit_code, f"{fault.name} is not installed; {install_extra(extra)}"
    except OSError as fault:
        if isinstance(fault, BrokenPipeError) and _is_deserted():
            return 1, None  # Whoever read our output hung up: nothing more can be said.
        if fault.errno in FORBIDDEN and fault.filename:
            return 1, forbidden(fault.filename, fault.errno)
        where = f"{fault.filename}: " if fault.filename else ""
        if fault.errno == errno.ENAMETOOLONG:  # whatever it was to be, nothing can have this name
            return RequestError.exit_code, f"{where}{fault.strerror}; give a shorter path"
        return 1, f"{where}{fault.strerror or fault}{remedy and '; '}{remedy}"
    except KeyboardInterrupt:
        return 1, interrupted


def _flush() -> str | None:
    """Let go of what was printed; gives what is to be said where it could not be, else None.

    The output leads nowhere then, so that Python does not complain of it at its exit.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as fault:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "" if isinstance(fault, BrokenPipeError) else f"output: {fault.strerror or fault}"
    return None


def _is_deserted() -> bool:
    """Tell whether the output is a pipe that nobody reads any more."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # none, or what a test or a notebook puts in its place
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
