"""A warm process that reads raw data, with limits of time and memory, and the handle that watches and stops it.

Readers of strangers' files can hang, crash or grow inside C libraries, where no exception helps: only a process can be
stopped. What a worker sends before it reads (`Pulse`) tells afterwards which file or episode was to blame.
"""

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vita_data.builder.pulse import Place, Pulse
from vita_data.builder.worker_limits import (
    end_with_parent,
    is_running,
    limit_memory,
    mute_libraries,
    processor_s,
    reserving_no_memory,
    waits_for_disk,
)
from vita_data.command.signals import interrupts_held
from vita_data.errors import OutOfMemoryError, VitaDataError

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})
"""Signals by which a library ends its own process; others come from outside: an administrator, or a lack of memory."""
_PATIENCE = 10
"""How many deadlines a reader may wait without using the processor: a disk or network may be slow."""
_LONGEST_STEP_S = 1.0
_KILL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What a worker may use."""

    deadline_s: float = 60.0
    """Seconds of work without a new episode, image or file; while it waits for a disk or network, ten times as long."""
    memory_bytes: int = 1_500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call for a worker: `function(argument, on_progress, pulse)`."""

    function: Callable[[Any, Callable[[Any], None], Pulse], Any]
    argument: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The worker has got somewhere: what the function passed to `on_progress`, or a place."""

    progress: Any = None
    place: Place | None = None
    is_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The job has ended: its result, or the error that it raised."""

    value: Any = None
    error: Exception | None = None
    is_out_of_memory: bool = False


class Cause(Enum):
    """What is to blame for the loss of a worker."""

    READER = "what it read"
    KILLED = "somebody killed it"
    DISK = "the disk or network does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The worker did not survive the job."""

    place: Place | None
    reason: str
    cause: Cause


class Worker:
    """One process; it does one job after another until one is lost."""

    def __init__(self, limits: WorkerLimits, spool: Path) -> None:
        """Start the process.

        Args:
            limits: what it may use.
            spool: a new folder for its temporary files; it is removed with the worker.
        """
        self._limits, self._spool = limits, spool
        spool.mkdir()
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        arguments = (theirs, life, os.getpid(), str(spool), limits.memory_bytes)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        with _interrupts_kept_from_children(), reserving_no_memory():
            self._process.start()
        theirs.close()
        life.close()
        self._place: Place | None = None
        self._watched_s, self._idle_s, self._looked_s = 0.0, 0.0, time.monotonic()
        self._used_s: float | None = None

    def start(self, job: Job) -> None:
        """Give it a job."""
        self._place = None
        self._moved()
        with suppress(OSError):  # it was killed: `receive` tells how
            self.connection.send(job)

    def receive(self) -> Iterator[Told | Answer | Lost]:
        """Yield what it has sent, without waiting."""
        try:
            while self.connection.poll():
                message: Told | Answer = self.connection.recv()
                self._moved()
                if isinstance(message, Told) and message.is_place:
                    self._place = message.place
                elif isinstance(message, Answer) and message.is_out_of_memory:
                    yield self._too_large()
                    return
                yield message
                if isinstance(message, Answer):
                    return
        except (EOFError, OSError):
            yield self._died()

    def overdue(self) -> Lost | None:
        """Tell whether it has not got anywhere for too long; ask often, since only time that was watched counts."""
        pid, now_s = self._process.pid or 0, time.monotonic()
        step_s = min(now_s - self._looked_s, _LONGEST_STEP_S)
        self._looked_s = now_s
        self._watched_s += step_s
        self._idle_s += 0.0 if is_running(pid) else step_s
        self._used_s = processor_s(pid) if self._used_s is None else self._used_s
        least_s = self._limits.deadline_s
        if self._place is None or self._watched_s < least_s:
            return None
        if processor_s(pid) - self._used_s < least_s and self._idle_s < _PATIENCE * least_s:
            return None
        told = f"no progress for {self._watched_s:.0f} s (--deadline {least_s:g})"
        if waits_for_disk(pid):
            return Lost(place=self._place, reason=f"{told}: {Cause.DISK.value}", cause=Cause.DISK)
        return Lost(place=self._place, reason=f"reading it was stopped after {told}", cause=Cause.READER)

    def stop(self) -> None:
        """End the process at once and remove its temporary files."""
        self._process.kill()
        self._process.join(_KILL_S)
        self._life.close()
        self.connection.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _moved(self) -> None:
        self._watched_s, self._idle_s, self._used_s, self._looked_s = 0.0, 0.0, None, time.monotonic()

    def _too_large(self) -> Lost:
        size = f"{self._limits.memory_bytes / 1e9:g} GB"
        reason = f"reading it takes more than the {size} that a worker may use (--memory-mb)"
        return Lost(place=self._place, reason=reason, cause=Cause.READER)

    def _died(self) -> Lost:
        self._process.join(_KILL_S)
        code = self._process.exitcode or 0
        if self._place is None and code >= 0:
            reason = f"a worker process ended by itself (exit code {code}) before it read anything"
            return Lost(place=None, reason=reason, cause=Cause.KILLED)
        if -code in _CRASHES:
            reason = f"its reader crashed ({signal.Signals(-code).name})"
        elif code < 0:
            return Lost(place=self._place, reason="a worker process was killed (out of memory?)", cause=Cause.KILLED)
        else:
            reason = f"its reader ended the process with exit code {code}"
        return Lost(place=self._place, reason=reason, cause=Cause.READER)


def _serve(connection: Connection, life: Connection, parent: int, spool: str, memory_bytes: int) -> None:
    import tempfile

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = spool
    mute_libraries()
    end_with_parent(life, parent)
    limit_memory(memory_bytes)
    with suppress(EOFError, OSError):  # the parent has gone
        while True:
            job: Job = connection.recv()
            connection.send(_answer(job, connection))


def _answer(job: Job, connection: Connection) -> Answer:
    # Each message is far smaller than a pipe's atomic write, so that threads of a reader may send too.
    pulse = Pulse(lambda place: connection.send(Told(place=place, is_place=True)))
    try:
        return Answer(value=job.function(job.argument, lambda told: connection.send(Told(progress=told)), pulse))
    except (MemoryError, OutOfMemoryError):
        return Answer(is_out_of_memory=True)
    except Exception as error:  # noqa: BLE001 - it is raised in the parent
        return Answer(error=_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent; a fault of the program brings the worker's traceback."""
    if isinstance(error, VitaDataError):
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == VitaDataError.__module__)
        return error if type(error) is kind else kind(str(error))
    told = "".join(traceback.format_exception(error))
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        error.add_note(told)
        return error
    return RuntimeError(told)


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Start processes that ignore a Ctrl-C at the terminal; this process receives it once they have started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # starting it would let the signal through again
    with interrupts_held():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
