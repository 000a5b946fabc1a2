"""Where units are built: in worker processes of this machine or on a Ray cluster. Units and output bytes are the same.

This module does no scheduling: the pool gives units to free processes; Ray places them, retries and handles lost nodes.
"""

import importlib
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from vita_data.builder.apart import list_apart, run_apart, run_unit_apart
from vita_data.builder.listing import Listing, ListingTask, list_raw
from vita_data.builder.pool import WorkerPool
from vita_data.builder.pulse import Pulse
from vita_data.builder.records import UnitRecord
from vita_data.builder.unit import OnProgress, Progress, UnitTask, run_unit
from vita_data.builder.worker import WorkerLimits
from vita_data.errors import RESUME, RequestError, WorkerError
from vita_data.installation import install_extra

_MAX_RETRIES = 3
_CONNECT_S = 10.0


class Engine(Protocol):
    """Reads a raw tree and builds units, in any order."""

    def list_raw(self, task: ListingTask) -> Listing:
        """List the parts of a raw tree.

        Raises:
            VitaDataError: the tree or a file that describes it is wrong.
        """

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Yield each unit's record when it is committed; closing the generator stops the units in progress.

        Raises:
            VitaDataError: a unit raised it; no further unit is started.
            WorkerError: a process or node was lost.
        """

    def close(self) -> None:
        """End what is still running; the engine may be used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineEngine:
    """This process; for tests and debuggers, since nothing stops a reader that hangs, crashes or grows."""

    def list_raw(self, task: ListingTask) -> Listing:
        """List the parts of a raw tree."""
        return list_raw(task, lambda told: None, Pulse())

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Build one unit after another."""
        yield from (run_unit(task, on_progress) for task in tasks)

    def close(self) -> None:
        """Do nothing."""


@dataclass(slots=True, kw_only=True)
class LocalEngine:
    """A pool of worker processes on this machine."""

    workers: int = 1
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    _pool: WorkerPool | None = field(default=None, init=False)

    def list_raw(self, task: ListingTask) -> Listing:
        """List the parts of a raw tree in a worker."""
        return list_apart(self._open(), task)

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Build units in worker processes; what a reader cannot survive costs its episode or part."""
        try:
            yield from run_apart(self._open(), tasks, on_progress)
        finally:
            self.close()

    def close(self) -> None:
        """End the worker processes; the next run builds the units in progress again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _open(self) -> WorkerPool:
        if self._pool is None:
            self._pool = WorkerPool(self.workers, self.limits)
        return self._pool


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """A Ray cluster: the one at `address`, the one Ray finds by itself (RAY_ADDRESS), or a local one of `workers`."""

    workers: int | None = None
    address: str | None = None
    limits: WorkerLimits = field(default_factory=WorkerLimits)

    def list_raw(self, task: ListingTask) -> Listing:
        """List the parts of a raw tree in a worker of this machine."""
        with closing(WorkerPool(1, self.limits)) as pool:
            return list_apart(pool, task)

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Build each unit as a Ray task of one CPU; Ray retries a unit whose worker or node was lost.

        Raises:
            RequestError: Ray is not installed, or no cluster answers at the address.
        """
        ray = _import_ray()
        with self._cluster(ray):
            remote = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(run_unit_apart)
            to_start = iter(tasks)
            # A cluster serves others too: `workers` limits how many units of this build run on it at once.
            waiting = [remote.remote(task, self.limits) for task in islice(to_start, self.workers)]
            sizes = {task.unit.number: sum(planned.part.num_bytes for planned in task.unit.parts) for task in tasks}
            try:
                while waiting:
                    (done,), waiting = ray.wait(waiting, num_returns=1)
                    record = _result(ray, done)
                    waiting += [remote.remote(task, self.limits) for task in islice(to_start, 1)]
                    on_progress(_whole_unit(record, sizes[record.number]))
                    yield record
            finally:
                # If the caller started the Ray session, it continues after an error, but no task of this build may.
                for unit in waiting:
                    ray.cancel(unit, force=True)

    def close(self) -> None:
        """Do nothing: a session that the caller started continues."""

    @contextmanager
    def _cluster(self, ray: Any) -> Iterator[None]:
        if ray.is_initialized():
            yield
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        _require_listener(address)
        try:
            ray.init(
                address=address,
                num_cpus=self.workers if address == "local" else None,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
            raise RequestError(f"--engine ray: no Ray cluster answers at {address} ({_first_line(error)})") from error
        try:
            yield
        finally:
            ray.shutdown()


def _require_listener(address: str) -> None:
    """Check within seconds whether anyone listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise RequestError(f"--engine ray: no Ray cluster answers at {address} ({error})") from error


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise RequestError(
            f"--engine ray: Ray is not installed; use --engine local, or {install_extra('ray')}"
        ) from None


def _result(ray: Any, done: Any) -> UnitRecord:
    try:
        record: UnitRecord = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        # The text of Ray's error is the worker's whole traceback; its cause is what the unit raised.
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"Ray could not finish a unit ({type(error).__name__}: {_first_line(error)}); {RESUME}"
        ) from error
    return record


def _whole_unit(record: UnitRecord, num_bytes: int) -> Progress:
    num_frames = sum(row.num_frames for row in record.episodes)
    return Progress(num_episodes=len(record.episodes), num_frames=num_frames, num_bytes=num_bytes)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0]
