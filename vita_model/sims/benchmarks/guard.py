"""Turn whatever a simulator raises, or dies of, into one line that names the benchmark, the place and the remedy."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vita_data.errors import RequestError, VitaDataError

_DONE = "vita-eval: done"
"""Printed by a program that reached its end: C code may end a process with code 0."""


@contextmanager
def guarded(benchmark: str, *, what: str, remedy: str) -> Iterator[None]:
    """Refuse the request if anything is raised inside the context, `SystemExit` included.

    Args:
        benchmark: name of the simulator.
        what: what is done inside, and where, for the message.
        remedy: what the user can do.

    Raises:
        RequestError: anything but Ctrl-C or one of our own errors was raised.
    """
    try:
        yield
    except VitaDataError:
        raise
    except (Exception, SystemExit) as fault:
        raise RequestError(f"{benchmark}: {what} failed ({_told(fault)}); {remedy}") from fault


def run_python(program: str, *arguments: str, benchmark: str, what: str, remedy: str) -> None:
    """Run a Python program in a process of its own, which does not outlive this call.

    Args:
        program: source text; it sees the same packages as this process.
        arguments: its `sys.argv[1:]`.
        benchmark: name of the simulator.
        what: what the program does, for the message.
        remedy: what the user can do.

    Raises:
        RequestError: the program did not reach its end; the message has its last line, or the signal that ended it.
    """
    command = [sys.executable, "-P", "-c", f"{program}\nprint({_DONE!r}, flush=True)", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # its own children too
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if child.returncode or _DONE not in lines:
        raise RequestError(f"{benchmark}: {what} failed ({_ending(child.returncode, lines)}); {remedy}")


def _told(fault: BaseException) -> str:
    """Name an error in one line."""
    text = " ".join(str(fault).split())
    if isinstance(fault, SystemExit):
        return f"it ended the program, {text or 'without a word'}"
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def _ending(code: int, lines: list[str]) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return lines[-1] if lines else f"the process ended without a word, code {code}"
