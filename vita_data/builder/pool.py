"""A pool of warm worker processes: gives out jobs, hears what they tell, and replaces workers that are lost."""

import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import wait

from vita_data.builder.worker import Answer, Job, Lost, Told, Worker, WorkerLimits
from vita_data.storage.scratch import Scratch

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became of a job: progress, its end, or the loss of its worker."""

    job: Job
    what: Told | Answer | Lost


class WorkerPool:
    """Up to `size` workers, started when they are needed; they stay until the pool is closed."""

    def __init__(self, size: int, limits: WorkerLimits) -> None:
        self._size, self._limits = size, limits
        # Workers are killed without cleaning up, so their temporary files are in a folder that this process owns.
        self._spool = Scratch("vita-build-")
        self._numbers = count()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, Job] = {}
        self._left: deque[Job] = deque()
        self._looked_s = time.monotonic()

    @property
    def is_working(self) -> bool:
        """Whether a job has not ended yet."""
        return bool(self._left or self._busy)

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Add a job, at the end or before all others."""
        if first:
            self._left.appendleft(job)
        else:
            self._left.append(job)

    def wait(self) -> Generator[Event, None, None]:
        """Give jobs to free workers, and yield what happens within the next half second."""
        self._give()
        ready = set(wait([worker.connection for worker in self._busy], timeout=_LOOK_EVERY_S))
        for worker, job in list(self._busy.items()):
            for what in worker.receive() if worker.connection in ready else ():
                self._end(worker, what)
                yield Event(job=job, what=what)
        if time.monotonic() - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        for worker, job in list(self._busy.items()):
            if (lost := worker.overdue()) is not None:
                self._end(worker, lost)
                yield Event(job=job, what=lost)

    def close(self) -> None:
        """End the workers, without waiting for their jobs."""
        for worker in (*self._idle, *self._busy):
            worker.stop()
        self._idle, self._busy, self._left = [], {}, deque()
        self._spool.remove()

    def _give(self) -> None:
        # Start all that are needed before the first gets a job: a long one is sent only when its worker listens.
        num_wanted = min(self._size - len(self._busy), len(self._left))
        while len(self._idle) < num_wanted:
            self._idle.append(Worker(self._limits, self._spool.path / str(next(self._numbers))))
        for _ in range(num_wanted):
            worker = self._idle.pop()
            self._busy[worker] = self._left.popleft()
            worker.start(self._busy[worker])

    def _end(self, worker: Worker, what: Told | Answer | Lost) -> None:
        if isinstance(what, Told):
            return
        del self._busy[worker]
        if isinstance(what, Lost):
            worker.stop()
        else:
            self._idle.append(worker)
