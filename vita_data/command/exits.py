"""How a command ends: errors as one line on stderr, and its exit code."""

import argparse
import contextlib
import difflib
import errno
import importlib.util
import itertools
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vita_data import __version__
from vita_data.command.signals import interrupt, on_sigterm
from vita_data.errors import FORBIDDEN, FREE_MEMORY, RequestError, VitaDataError, did_you_mean, forbidden
from vita_data.installation import EXTRAS, extra_of, install_extra

_TORCH_OUT_OF_MEMORY = ("OutOfMemoryError", "DefaultCPUAllocator")
"""The class of a GPU's error, and a word of that of the CPU, which has no class of its own."""

_MAX_CHARS = 4000
"""Of a message; most have fewer than 300."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a bad argument in one line that points to `--help`; adds `--version`; takes no abbreviated options.

    An abbreviation would change its meaning when another option is added.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "allow_abbrev": False})
        self.instead: Callable[[str], str] = lambda option: ""
        """Names what to give instead of an unknown option; empty if there is nothing."""
        command, *verbs = self.prog.split()
        shown = argparse.SUPPRESS if verbs else "print the version and exit"
        self.add_argument("--version", action="version", version=f"{command} {__version__}", help=shown)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; the given verb refuses an unknown argument and suggests the option that was probably meant."""
        given = sys.argv[1:] if args is None else list(args)
        found, unknown = self.parse_known_args(given, namespace)
        if unknown:
            self._verb_of(given)._refuse_unknown(unknown)
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; report an unknown option before a missing required one, since it may be that option misspelt."""
        given = sys.argv[1:] if args is None else list(args)
        options = [text.partition("=")[0] for text in itertools.takewhile(lambda text: not self._ends(text), given)]
        unknown = [text for text in options if text.startswith("--") and text not in self._option_string_actions]
        if unknown and not {"-h", "--help"} & set(options):
            self._refuse_unknown(unknown)
        return super().parse_known_args(given, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not among the choices; a long list of them is left out if one is nearly the same."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as refusal:
            near = did_you_mean(str(value), map(str, action.choices or ()))
            if not near:
                raise
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}; {near}") from refusal

    def _ends(self, text: str) -> bool:
        """Tell whether the options of this parser end here: what follows a verb, even a misspelt one, is the verb's."""
        return text == "--" or (bool(self._verbs()) and not text.startswith("-"))

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
        near = " or ".join(option for option in self._option_string_actions if option.startswith(first))
        near = near or self.instead(first) or self._near(first)
        self.error(f"unknown option {first}" + (f"; did you mean {near}?" if near else ""))

    def _near(self, option: str) -> str:
        """Return the option whose name without dashes is much like this; never --help, which the line ends with."""
        known = [one[2:] for one in self._option_string_actions if one.startswith("--") and one != "--help"]
        return "".join(f"--{name}" for name in difflib.get_close_matches(option.lstrip("-"), known, n=1))

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        told = one_line(message)
        self.exit(2, f"{self.prog}: {told}{'' if told.endswith('?') else ';'} see {self.prog} --help\n")


def one_line(text: str) -> str:
    """Format a message as one printable line of limited length: a user's path may contain any character."""
    return printable(clipped(" ".join(text.split())))


def clipped(text: str) -> str:
    """Leave out the middle of a very long message: a value in a stranger's file may be megabytes of text."""
    if len(text) <= _MAX_CHARS:
        return text
    kept = _MAX_CHARS // 2
    return f"{text[:kept]} ... ({len(text) - 2 * kept} characters left out) ... {text[-kept:]}"


def printable(text: str) -> str:
    """Show control characters of a line as escapes: a name in a stranger's file could move the cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def exit_code(
    program: str, command: Callable[[], int | None], *, interrupted: str, remedy: str = "", extras: Sequence[str] = ()
) -> int:
    """Run a command; returns its exit code.

    Args:
        program: the name that begins the line.
        command: returns its own exit code, or None for 0.
        interrupted: the message for Ctrl-C and SIGTERM.
        remedy: what to do about a fault of the machine, for the message.
        extras: all extras that the command needs, so that one message names all that are missing.

    Returns:
        0 done; 1 bad data or files, Ctrl-C, SIGTERM, or the reader of the output has closed it (`| head`); 2 a bad
        request.
    """
    code, told = _run(command, interrupted, remedy, extras)
    unsaid = _flush()
    told = told or unsaid
    if told:
        print(f"{program}: {one_line(told)}", file=sys.stderr)
    return code or int(unsaid is not None)


def _run(
    command: Callable[[], int | None], interrupted: str, remedy: str, extras: Sequence[str]
) -> tuple[int, str | None]:
    """Return the exit code and the message."""
    try:
        with on_sigterm(interrupt):  # so that temporary files are removed
            return command() or 0, None
    except ModuleNotFoundError as fault:
        extra = extra_of(fault)
        if extra is None:
            raise
        missing = [one for one in extras if one != extra and not _is_installed(one)]
        return RequestError.exit_code, f"{fault.name} is not installed; {install_extra(','.join([extra, *missing]))}"
    except VitaDataError as fault:
        return fault.exit_code, str(fault)
    except OSError as fault:
        return _machine_fault(fault, remedy)
    except MemoryError as fault:
        return 1, _out_of_memory(fault)
    except RuntimeError as fault:
        if not any(words in f"{type(fault).__name__} {fault}" for words in _TORCH_OUT_OF_MEMORY):
            raise
        return 1, _out_of_memory(fault)
    except KeyboardInterrupt:
        return 1, interrupted


def _machine_fault(fault: OSError, remedy: str) -> tuple[int, str | None]:
    if isinstance(fault, BrokenPipeError) and _is_deserted():
        return 1, None  # the reader of our output closed it: nothing can be reported
    if fault.errno in FORBIDDEN and fault.filename:
        return 1, forbidden(fault.filename, fault.errno)
    where = f"{fault.filename}: " if fault.filename else ""
    if fault.errno == errno.ENAMETOOLONG:  # no file can have this name
        return RequestError.exit_code, f"{where}{fault.strerror}; give a shorter path"
    return 1, f"{where}{fault.strerror or fault}{remedy and '; '}{remedy}"


def _out_of_memory(fault: Exception) -> str:
    """Say that there is too little memory, with the first line of the library's own message."""
    told = str(fault).partition("\n")[0]
    return f"not enough memory{told and ': '}{told}; {FREE_MEMORY}"


def _is_installed(extra: str) -> bool:
    return all(importlib.util.find_spec(package) for package, its in EXTRAS.items() if its == extra)


def _flush() -> str | None:
    """Flush stdout; return the error to report, or None.

    After an error, stdout is redirected to the null device so that Python does not complain at exit.
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
    """Tell whether stdout is a pipe whose reader has closed it."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # no stdout, or a replacement by a test or a notebook
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
