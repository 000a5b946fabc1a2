"""Threads that never keep a process from exiting, and what each of them is reading.

Not `ThreadPoolExecutor`: it waits for its threads at exit, so that one hung read would hang the whole process. Threads
still get a moment to end: one that returns from C++ after the interpreter has shut down aborts the process.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from vita_data.errors import TRAINING_RESUMES, StorageError

_Result = TypeVar("_Result")
_JOIN_S = 2.0
"""How long to wait for threads that were told to end."""


_Tasks = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


class DaemonPool:
    """Threads that run tasks in the order of submission; they end with the last reference to the pool."""

    def __init__(self, num_threads: int, *, name: str) -> None:
        self._tasks: _Tasks = SimpleQueue()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=_work, args=(self._tasks,), name=f"{name}-{number}", daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()
        self._dismiss = weakref.finalize(self, _dismiss, self._tasks, num_threads)

    def submit(self, task: Callable[[], _Result]) -> Future[_Result]:
        """Run a task; the future raises its exception."""
        future: Future[_Result] = Future()
        self._tasks.put((future, task))
        if self._is_closed:
            # No thread is left to run it.
            self.forget()
        return future

    def forget(self) -> None:
        """Cancel the tasks that have not started; waiting for one raises CancelledError."""
        for _ in range(_cancel(self._tasks)):
            self._tasks.put(None)

    def close(self) -> None:
        """End the threads after their current tasks and cancel the other tasks; a hung thread is abandoned."""
        self._is_closed = True
        self._dismiss()
        _join(self._threads)


# The threads refer only to the queue: a reference to the pool would keep it alive forever.
def _work(tasks: _Tasks) -> None:
    _at_work[threading.current_thread()] = tasks
    while (job := tasks.get()) is not None:
        future, task = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001 - the waiting thread gets any exception
                future.set_exception(error)
        # An idle thread must not keep a batch alive.
        del job, future, task
    _at_work.pop(threading.current_thread(), None)


def _dismiss(tasks: _Tasks, num_threads: int) -> None:
    _cancel(tasks)
    for _ in range(num_threads):
        tasks.put(None)


def _cancel(tasks: _Tasks) -> int:
    """Cancel all waiting tasks; return how many requests to end were among them."""
    num_ends = 0
    with suppress(Empty):
        while True:
            job = tasks.get_nowait()
            if job is None:
                num_ends += 1
            else:
                job[0].cancel()
    return num_ends


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait a limited time for threads to end, then stop waiting."""
    deadline_s = time.monotonic() + _JOIN_S
    for thread in threads:
        thread.join(max(deadline_s - time.monotonic(), 0.0))
        _at_work.pop(thread, None)


def _end_all() -> None:
    left = _at_work.copy()
    for tasks in left.values():
        _dismiss(tasks, len(left))
    _join(list(left))


_at_work: dict[threading.Thread, _Tasks] = {}
atexit.register(_end_all)


class Reading(Protocol):
    """A read in progress, which can describe what is read and where."""

    def __str__(self) -> str:
        """Name shard, clip, member and offset."""


@dataclass(slots=True)
class InFlightRead:
    """What one thread is reading, and since when; None while it does something else."""

    reading: Reading | None = None
    since_s: float = 0.0

    def begin(self, reading: Reading) -> None:
        """Record a read that starts now."""
        self.since_s = time.monotonic()
        self.reading = reading

    def end(self) -> None:
        """Record that it is done."""
        self.reading = None


class StallDetector:
    """Knows the current reads of all threads, so that a hung read can be named."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._local = threading.local()
        self._reads: list[InFlightRead] = []

    def in_flight(self) -> InFlightRead:
        """The calling thread's read in flight."""
        read: InFlightRead | None = getattr(self._local, "read", None)
        if read is None:
            read = self._local.read = InFlightRead()
            self._reads.append(read)
        return read

    def check(self) -> None:
        """Check for a read that takes too long.

        Raises:
            StorageError: a read takes too long; names it.
        """
        now_s = time.monotonic()
        for read in list(self._reads):
            reading, since_s = read.reading, read.since_s
            if reading is not None and now_s - since_s > self.timeout_s:
                raise StorageError(
                    f"{reading}: no answer for {now_s - since_s:.0f} s; check that the disk, mount or store answers, "
                    f"then {TRAINING_RESUMES}"
                )
