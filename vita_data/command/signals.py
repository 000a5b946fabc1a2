"""What a SIGTERM does while something runs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
