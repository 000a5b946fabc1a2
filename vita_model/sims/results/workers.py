"""Episodes in several processes, each with a simulator and a policy of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass

from vita_data.errors import WorkerError
from vita_data.types import Json
from vita_model.policy.interfaces import Policy

Job = tuple[str, int]
"""A task, and the number of an episode."""
RunEpisode = Callable[[str, int], Json]
OpenEpisodes = Callable[[], AbstractContextManager[RunEpisode]]
"""Opens simulator and policy in a worker; pickled to get there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How many processes run episodes, and how each of them opens its policy."""

    number: int
    open_policy: Callable[[], Policy]
    """Pickled: a partial of a function of a module."""


_open: OpenEpisodes | None = None
_run: RunEpisode | None = None
_stack = ExitStack()
"""Of a worker process: what its first episode opens and later ones use."""


def run_in_workers(
    jobs: Sequence[Job], opener: OpenEpisodes, num_workers: int
) -> Generator[tuple[Job, Json], None, None]:
    """Run episodes; yields each as it ends, in any order. Workers do not outlive the iteration.

    Raises:
        WorkerError: a worker ended without an answer.
        VitaDataError: what an episode raises.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a simulator's threads do not survive a fork
    pool = ProcessPoolExecutor(min(num_workers, max(len(jobs), 1)), context, _begin, (opener,))
    try:
        waiting = {pool.submit(_work, *job): job for job in jobs}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool as fault:
        raise WorkerError(
            "a worker with a simulator ended unexpectedly; is memory short? Continue with --resume and fewer --workers"
        ) from fault
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()  # it may be in the middle of an episode
        pool.shutdown(cancel_futures=True)


def _begin(opener: OpenEpisodes) -> None:
    """Prepare a worker: the parent decides what Ctrl-C means, and stdout belongs to results."""
    global _open  # noqa: PLW0603 - a pool has no other place for what its workers share
    _open = opener
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.dup2(2, 1)


def _work(group: str, number: int) -> Json:
    global _run  # noqa: PLW0603
    if _run is None and _open is not None:
        _run = _stack.enter_context(_open())  # closed by the end of the process
    if _run is None:
        raise WorkerError("a worker was not prepared")
    return _run(group, number)
