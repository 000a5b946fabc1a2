"""Keep what simulators print out of the results: everything they write to stdout goes to stderr."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator

_STDOUT, _STDERR = 1, 2
Report = Callable[[str], None]


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[Callable[[Report], Report]]:
    """Send stdout to stderr inside the context, that of C code included.

    Yields:
        A function that makes a report of ours write to the real stdout.
    """
    ours, kept = sys.stdout, _duplicate(_STDOUT)

    def loud(report: Report) -> Report:
        def told(line: str) -> None:
            with contextlib.redirect_stdout(ours):
                _connect(kept, _STDOUT)
                try:
                    report(line)
                finally:
                    _flush()
                    _connect(_STDERR, _STDOUT)

        return told

    _flush()
    _connect(_STDERR, _STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield loud
    finally:
        _flush()
        _connect(kept, _STDOUT)
        if kept is not None:
            os.close(kept)


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:  # it is closed
        return None


def _connect(source: int | None, target: int) -> None:
    if source is not None:
        with contextlib.suppress(OSError):
            os.dup2(source, target)


def _flush() -> None:
    """Write out what Python and C have buffered for stdout."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
