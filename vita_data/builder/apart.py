"""Lists and builds in worker processes; a place that a worker does not survive is passed over by the next try."""

from collections.abc import Callable, Generator, Sequence
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
from vita_data.formats.raw_tree.tree import RAW_OPTION

AGAIN = "the file is damaged, fetch it again"
"""What to do about a file that its reader does not survive."""


def list_apart(pool: WorkerPool, task: ListingTask) -> Listing:
    """List a raw tree in a worker.

    Raises:
        SourceError: a file that describes the tree cannot be read, or hangs or crashes its reader.
        WorkerError: the worker was killed.
    """
    what = run_job(pool, Job(function=list_raw, argument=task))
    if isinstance(what, Lost):
        raise tree_fault(f"{RAW_OPTION} {task.request.raw}", what)
    listing: Listing = value_of(what)
    return listing


def run_job(pool: WorkerPool, job: Job, on_told: Callable[[Any], None] = lambda told: None) -> Answer | Lost:
    """Do one job in a worker of a pool that does nothing else, until it ends or its worker is lost.

    Raises:
        WorkerError: the worker was killed.
        StorageError: a disk or network does not answer.
    """
    pool.submit(job)
    while True:
        for event in pool.wait():
            if isinstance(event.what, Answer):
                return event.what
            if isinstance(event.what, Lost):
                if event.what.cause is not Cause.READER:
                    raise _machine_fault(event.what)
                return event.what
            if not event.what.is_place:
                on_told(event.what.progress)


def retry_job(
    pool: WorkerPool, tree: str, job_of: Callable[[tuple[Obstacle, ...]], Job], on_told: Callable[[Any], None]
) -> Any:
    """Do a job that reads parts; what its worker does not survive is an obstacle that the next try passes over.

    Args:
        pool: has one worker and does nothing else.
        tree: the tree with the option that it was given by, for messages.
        job_of: makes the job that passes over these obstacles.
        on_told: gets what the job tells.

    Raises:
        SourceError: the tree cannot be listed, or the job does not survive a place that it should pass over.
        VitaDataError: the job raised it.
    """
    obstacles: tuple[Obstacle, ...] = ()
    while True:
        what = run_job(pool, job_of(obstacles), on_told)
        if isinstance(what, Answer):
            return value_of(what)
        is_new = what.place not in {one.place for one in obstacles}
        if what.place is None or what.place.number is None or not is_new:
            raise tree_fault(tree, what)
        obstacles = (*obstacles, Obstacle(place=what.place, reason=f"{what.reason}; {AGAIN}"))


def tree_fault(tree: str, lost: Lost) -> SourceError:
    """Describe a tree whose listing ended the worker."""
    where = f", {lost.place.part}" if lost.place and lost.place.part else ""
    return SourceError(f"{tree}{where}: {lost.reason}; {AGAIN}")


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
                record: UnitRecord = value_of(event.what)
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
        obstacle = Obstacle(place=lost.place, reason=f"{lost.reason}; {AGAIN}")
        self.task = replace(self.task, obstacles=(*self.task.obstacles, obstacle))
        self.num_heard = 0


def value_of(answer: Answer) -> Any:
    """Return the result of a job; raises the error that it raised."""
    if answer.error is not None:
        raise answer.error
    return answer.value


def _machine_fault(lost: Lost) -> VitaDataError:
    if lost.cause is Cause.KILLED:
        return WorkerError(f"{lost.reason}; {RESUME}; use fewer --workers if memory ran out")
    return StorageError(f"{'' if lost.place is None else f'{lost.place.part}: '}{lost.reason}; {BRING_BACK}")
