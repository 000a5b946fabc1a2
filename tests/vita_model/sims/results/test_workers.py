"""Episodes in several processes."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from vita_data.errors import RequestError, WorkerError
from vita_model.sims.results.journal import Journal, Place
from vita_model.sims.results.workers import RunEpisode, run_in_workers

JOBS = [(group, number) for group in ("a", "b") for number in range(3)]


@contextmanager
def squares() -> Iterator[RunEpisode]:
    yield lambda group, number: {"of": f"{group}{number}", "square": number * number, "process": os.getpid()}


@contextmanager
def sleeping() -> Iterator[RunEpisode]:
    def run(group: str, number: int) -> dict[str, object]:
        if number:
            time.sleep(60)
        return {}

    yield run


@contextmanager
def dying() -> Iterator[RunEpisode]:
    yield lambda group, number: os._exit(3)


@contextmanager
def refusing() -> Iterator[RunEpisode]:
    raise RequestError("LIBERO: assets not found")
    yield


def test_every_episode_is_run_once_by_one_of_the_processes():
    rows = dict(run_in_workers(JOBS, squares, 2))
    assert {job: (row["of"], row["square"]) for job, row in rows.items()} == {
        (group, number): (f"{group}{number}", number * number) for group, number in JOBS
    }
    assert os.getpid() not in {row["process"] for row in rows.values()}
    assert not multiprocessing.active_children()


def test_whoever_stops_waits_for_nobody():
    running = run_in_workers(JOBS, sleeping, 2)
    next(running)
    before = time.monotonic()
    running.close()  # as Ctrl-C does
    assert time.monotonic() - before < 1.0
    assert not multiprocessing.active_children()


def test_what_ends_a_worker_is_named():
    with pytest.raises(WorkerError, match="ended unexpectedly"), closing(run_in_workers(JOBS, dying, 1)) as done:
        list(done)
    with pytest.raises(RequestError, match="assets not found"), closing(run_in_workers(JOBS, refusing, 1)) as done:
        list(done)


def test_a_journal_keeps_what_workers_did(tmp_path):
    place, said = Place(folder=tmp_path, name="x"), []
    with Journal(place, {}, said.append) as journal:
        journal.fill(JOBS[:2], squares, 2)
        assert [row["square"] for row in journal.rows("a", range(2), lambda number: {})] == [0, 1]
        (again,) = journal.rows("a", [2], lambda number: {"square": "in this process"})
        assert again == {"square": "in this process"}
    assert not place.episodes.exists()
