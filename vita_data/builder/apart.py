"""Lists and builds in worker processes; a place that a worker does not survive is passed over by the next try."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from vita_data.builder.listing import Listing, ListingTask, list_raw
from vita_data.builder.pool import WorkerPool
from vita_data.builder.pulse import Obstacle, Place
from vita_data.builder.records import UnitRecord
from vita_data.builder.unit import OnProgress, Progress, UnitTask, ignore_progress, run_unit
from vita_data.builder.worker import Answer, Cause, Job, Lost, WorkerLimits
from vita_data.errors import BRING_BACK, RESUME, SourceError, StorageError, VitaDataError, WorkerError

_AGAIN = "the file is damaged, fetch it again"


def list_apart(pool: WorkerPool, task: ListingTask) -> Listing:
    """List a raw tree in a worker.

    Raises:
        SourceError: a file that describes the tree cannot be read, or hangs or crashes its reader.
        WorkerError: the worker was killed.
    """
    pool.submit(Job(function=list_raw, argument=task))
    while True:
        for event in pool.wait():
            if isinstance(event.what, Answer):
                listing: Listing = _value(event.what)
                return listing
            if isinstance(event.what, Lost):
                if event.what.cause is not Cause.READER:
                    raise _machine_fault(event.what)
                where = f", {event.what.place.part}" if event.what.place and event.what.place.part else ""
                raise SourceError(f"--raw {task.request.raw}{where}: {event.what.reason}; {_AGAIN}")


def run_apart(
    pool: WorkerPool, tasks: Sequence[UnitTask], on_progress: OnProgress
) -> Generator[UnitRecord, None, None]:
    """Build units in workers, and yield each record when it is committed.

    Raises:
        VitaDataError: a unit raised it.
        WorkerError: a worker was killed, or a unit ends its workers again and again.
    """
    tries = {task.unit.number: _Try(task=task) for task in tasks}
    for one in tries.values():
        pool.submit(one.job)
    while pool.is_working:
        for event in pool.wait():
            one = tries[event.job.argument.unit.number]
            if isinstance(event.what, Answer):
                record: UnitRecord = _value(event.what)
                yield record
            elif isinstance(event.what, Lost):
                one.pass_over(event.what)
                pool.submit(one.job, first=True)
            elif isinstance(event.what.progress, Progress):
                one.tell(event.what.progress, on_progress)


def run_unit_apart(task: UnitTask, limits: WorkerLimits) -> UnitRecord:
    """Build a unit in a worker of this process, which is kept for the next unit; for a cluster."""
    try:
        (record,) = run_apart(_kept_pool(limits), [task], ignore_progress)
    except BaseException:
        _kept_pool(limits).close()
        _kept_pool.cache_clear()
        raise
    return record


@cache
def _kept_pool(limits: WorkerLimits) -> WorkerPool:
    return WorkerPool(1, limits)


@dataclass(slots=True, kw_only=True)
class _Try:
    """A unit that is tried until its worker survives; what earlier tries reported is not reported again."""

    task: UnitTask
    num_told: int = 0
    num_heard: int = 0
    passed: set[Place] = field(default_factory=set)

    @property
    def job(self) -> Job:
        return Job(function=run_unit, argument=self.task)

    def tell(self, progress: Progress, on_progress: OnProgress) -> None:
        self.num_heard += 1
        if self.num_heard > self.num_told:
            self.num_told += 1
            on_progress(progress)

    def pass_over(self, lost: Lost) -> None:
        """Let the next try pass over the place that ended this one.

        Raises:
            WorkerError: the machine is to blame, or the place is not known or was passed over already.
        """
        if lost.cause is not Cause.READER:
            raise _machine_fault(lost)
        if lost.place is None or lost.place in self.passed:
            where = "" if lost.place is None else f", {lost.place.part}"
            raise WorkerError(f"unit {self.task.unit.number}{where}: {lost.reason}; {RESUME}")
        self.passed.add(lost.place)
        obstacle = Obstacle(place=lost.place, reason=f"{lost.reason}; {_AGAIN}")
        self.task = replace(self.task, obstacles=(*self.task.obstacles, obstacle))
        self.num_heard = 0


def _value(answer: Answer) -> Any:
    if answer.error is not None:
        raise answer.error
    return answer.value


def _machine_fault(lost: Lost) -> VitaDataError:
    if lost.cause is Cause.KILLED:
        return WorkerError(f"{lost.reason}; {RESUME}; use fewer --workers if memory ran out")
    return StorageError(f"{'' if lost.place is None else f'{lost.place.part}: '}{lost.reason}; {BRING_BACK}")
