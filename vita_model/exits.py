"""How a command ends: errors as one line on stderr, its exit code, and what a SIGTERM does."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vita_data.errors import VitaDataError


def exit_code(program: str, command: Callable[[], None], *, interrupted: str) -> int:
    """Run a command: 0 done, 1 data or files are bad or Ctrl-C (which `interrupted` is said of), 2 a bad request."""
    try:
        command()
    except VitaDataError as fault:
        print(f"{program}: {fault}", file=sys.stderr)
        return fault.exit_code
    except OSError as fault:
        print(f"{program}: {fault.filename or 'files'}: {fault.strerror or fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Do something at a SIGTERM while inside; only a main thread may set handlers, others see no signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupt() -> None:
    """Raise what Ctrl-C raises, so that what was begun is ended."""
    raise KeyboardInterrupt
