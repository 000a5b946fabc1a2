"""Handling of SIGTERM while something runs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Run an action on SIGTERM while inside; only the main thread may set handlers, other threads do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupt() -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does, so that running work is cleaned up."""
    raise KeyboardInterrupt
