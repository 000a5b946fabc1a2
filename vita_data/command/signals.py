"""Handling of SIGTERM and Ctrl-C while something runs."""

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


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, for code that must not be interrupted inside and soon ends.

    Only the main thread is interrupted, so in another thread this does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def interrupt() -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does, so that running work is cleaned up."""
    raise KeyboardInterrupt
