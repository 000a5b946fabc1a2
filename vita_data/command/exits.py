"""How a command ends: errors as one line on stderr, and its exit code."""

import argparse
import contextlib
import difflib
import errno
import itertools
import os
import select
import sys
from collections.abc import Callable, Iterable, Sequence
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

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; what no verb knows is refused by the verb that was asked, with the option that was meant."""
        given = sys.argv[1:] if args is None else list(args)
        found, unknown = self.parse_known_args(given, namespace)
        if unknown:
            self._verb_of(given)._refuse_unknown(unknown)
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an unknown option is told before a required one that is lacking, which it may be, misspelt."""
        given = sys.argv[1:] if args is None else list(args)
        known = self._option_string_actions
        if given and not self._verbs():
            options = [text.partition("=")[0] for text in itertools.takewhile(lambda text: text != "--", given)]
            unknown = [text for text in options if text.startswith("--") and not _is_prefix(text, known)]
            if unknown and not {"-h", "--help"} & set(options):
                self._refuse_unknown(unknown)
        return super().parse_known_args(given, namespace)

    def _verbs(self) -> dict[str, "OneLineParser"]:
        found = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(found[0]) if found else {}

    def _verb_of(self, given: Sequence[str]) -> "OneLineParser":
        verbs = self._verbs()
        name = next((text for text in given if text in verbs), None)
        return self if name is None else verbs[name]._verb_of(given[given.index(name) + 1 :])

    def _refuse_unknown(self, unknown: Sequence[str]) -> NoReturn:
        first = unknown[0].partition("=")[0]
        if not first.startswith("-"):
            self.error(f"unexpected argument {first}")
        near = difflib.get_close_matches(first, self._option_string_actions, n=1)
        self.error(f"unknown option {first}" + (f"; did you mean {near[0]}?" if near else ""))

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        told = one_line(message)
        self.exit(2, f"{self.prog}: {told}{'' if told.endswith('?') else ';'} see {self.prog} --help\n")


def _is_prefix(text: str, options: Iterable[str]) -> bool:
    """Tell whether argparse takes a text for an option, written out or not."""
    return any(option.startswith(text) for option in options)


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
