"""Where units are built: in a local pool of processes or on a Ray cluster. Units and output bytes are the same.

This module does no scheduling: the pool gives units to free processes; Ray places them, retries and handles lost nodes.
"""

import importlib
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from vita_data.builder.records import UnitRecord, read_record
from vita_data.builder.unit import OnProgress, Progress, UnitTask, run_unit
from vita_data.errors import RESUME, RequestError, WorkerError
from vita_data.installation import install_extra
from vita_data.storage.scratch import scratch_folder

_MAX_RETRIES = 3
_POLL_S = 0.2
_CONNECT_S = 10.0


class Engine(Protocol):
    """Builds units, in any order."""

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Yield each unit's record when it is committed; closing the generator stops the units in progress.

        Raises:
            VitaDataError: a unit raised it; no further unit is started.
            WorkerError: a process or node was lost.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """A pool of processes on this machine; with one worker, this process."""

    workers: int = 1

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Build units in worker processes, spawned so that they inherit no half-initialised decoder or thread."""
        if self.workers == 1 or len(tasks) < 2:
            yield from (run_unit(task, on_progress) for task in tasks)
            return
        folder = tasks[0].request.folder
        receiver, life = multiprocessing.get_context("spawn").Pipe(duplex=False)
        # Workers are killed without cleaning up, so their temporary files are in a folder that this process owns.
        with _listening(on_progress) as sender, receiver, life, temporary_folder() as spool:
            pool = ProcessPoolExecutor(
                max_workers=min(self.workers, len(tasks)),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(sender, receiver, str(spool)),
            )
            try:
                with _interrupts_kept_from_children():
                    futures = [pool.submit(_run_in_worker, task) for task in tasks]
                for future in as_completed(futures):
                    yield read_record(folder, future.result())
                pool.shutdown(wait=True)
            except BrokenProcessPool as error:
                raise WorkerError(
                    f"a worker process was killed (out of memory?); {RESUME}; use fewer --workers if memory ran out"
                ) from error
            finally:
                # Do not wait for units in progress: the next run builds them again.
                life.close()
                pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """A Ray cluster: the one at `address`, the one Ray finds by itself (RAY_ADDRESS), or a local one of `workers`."""

    workers: int | None = None
    address: str | None = None

    def run(self, tasks: Sequence[UnitTask], on_progress: OnProgress) -> Generator[UnitRecord, None, None]:
        """Build each unit as a Ray task of one CPU; Ray retries a unit whose worker or node was lost.

        Raises:
            RequestError: Ray is not installed, or no cluster answers at the address.
        """
        ray = _import_ray()
        with self._cluster(ray):
            remote = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(run_unit)
            to_start = iter(tasks)
            # A cluster serves others too: `workers` limits how many units of this build run on it at once.
            waiting = [remote.remote(task) for task in islice(to_start, self.workers)]
            sizes = {task.unit.number: sum(planned.part.num_bytes for planned in task.unit.parts) for task in tasks}
            try:
                while waiting:
                    (done,), waiting = ray.wait(waiting, num_returns=1)
                    record = _result(ray, done)
                    waiting += [remote.remote(task) for task in islice(to_start, 1)]
                    on_progress(_whole_unit(record, sizes[record.number]))
                    yield record
            finally:
                # If the caller started the Ray session, it continues after an error, but no task of this build may.
                for unit in waiting:
                    ray.cancel(unit, force=True)

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


def temporary_folder() -> AbstractContextManager[Path]:
    """Make a folder for the workers' temporary files; it is deleted when the `with` block ends."""
    return scratch_folder("vita-build-")


_progress_sender: Connection | None = None


def _start_worker(sender: Connection, life: Connection, spool: str) -> None:
    global _progress_sender  # noqa: PLW0603 - a pool's initializer has no other way to hand something to its tasks
    _progress_sender = sender
    tempfile.tempdir = spool
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()


def _end_with_parent(life: Connection) -> None:
    # The processes of a pool do not notice when their parent is killed; they would wait for work forever. Nothing is
    # ever sent through this pipe: it ends when the parent closes it or dies.
    life.poll(None)
    os._exit(1)


def _run_in_worker(task: UnitTask) -> int:
    # Do not return the record: a worker killed in the middle of a long message would leave the pool waiting for the
    # rest.
    return run_unit(task, _send).number


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Start processes that ignore a Ctrl-C at the terminal; this process receives it once they have started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _send(progress: Progress) -> None:
    # A message is far smaller than a pipe's atomic write, so workers need no lock (a lock held by a killed worker would
    # block the others).
    if _progress_sender is not None:
        _progress_sender.send(progress)


@contextmanager
def _listening(on_progress: OnProgress) -> Iterator[Connection]:
    """Forward what workers send, from a thread, while the `with` block runs."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    ended = threading.Event()

    faults: list[Exception] = []

    def listen() -> None:
        while receiver.poll(_POLL_S) or not ended.is_set():
            if not receiver.poll():
                continue
            progress = receiver.recv()
            # Keep reading even if the listener fails: workers block when the pipe is not emptied.
            try:
                on_progress(progress)
            except Exception as error:  # noqa: BLE001 - told when the block ends
                faults.append(error)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield sender
    finally:
        ended.set()
        thread.join()
        receiver.close()
        sender.close()
    if faults:
        raise faults[0]
