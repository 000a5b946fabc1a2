"""Threads end with their pool, errors reach whoever waits, and a read without end is named."""

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from vita_data.errors import StorageError
from vita_data.loader.store.daemon_pool import DaemonPool, StallDetector


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come about")


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_tasks_begin_in_the_order_given_and_give_their_results() -> None:
    begun: list[int] = []
    pool = DaemonPool(1, name="test-order")
    futures = [pool.submit(lambda number=number: begun.append(number) or number) for number in range(50)]

    assert [future.result(10) for future in futures] == begun == list(range(50))
    pool.close()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_task_raises_is_raised_by_its_future_and_the_thread_lives_on(error: BaseException) -> None:
    def fail() -> None:
        raise error

    pool = DaemonPool(1, name="test-raise")
    with pytest.raises(type(error)):
        pool.submit(fail).result(10)
    assert pool.submit(lambda: 1).result(10) == 1
    pool.close()


def test_closing_ends_the_task_at_hand_and_cancels_the_others() -> None:
    begin, end = threading.Event(), threading.Event()
    pool = DaemonPool(1, name="test-close")
    first = pool.submit(lambda: begin.set() or end.wait(10))
    others = [pool.submit(lambda: None) for _ in range(3)]
    begin.wait(10)
    threading.Timer(0.05, end.set).start()
    pool.close()

    assert first.result(0) is True
    for other in others:
        with pytest.raises(CancelledError):
            other.result(0)
    assert not named("test-close")
    pool.close()


def test_threads_of_a_crew_that_nobody_holds_end() -> None:
    pool = DaemonPool(3, name="test-drop")
    pool.submit(lambda: None).result(10)
    assert len(named("test-drop")) == 3
    del pool
    gc.collect()

    wait_for(lambda: not named("test-drop"))


def test_a_thread_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.loader.store.daemon_pool._JOIN_S", 0.01)
    begin, end = threading.Event(), threading.Event()
    pool = DaemonPool(2, name="test-hang")
    pool.submit(lambda: begin.set() or end.wait(30))
    begin.wait(10)
    pool.close()

    assert named("test-hang")
    end.set()
    wait_for(lambda: not named("test-hang"))


def test_only_a_read_that_takes_too_long_is_named() -> None:
    stalls = StallDetector(1.0)
    read = stalls.in_flight()
    assert stalls.in_flight() is read
    stalls.check()
    read.begin("shard a.tar, clip c, member m")
    stalls.check()
    read.since_s -= 1.5
    with pytest.raises(StorageError, match=r"^shard a\.tar, clip c, member m: no answer for [12] s; [^\n]*$"):
        stalls.check()
    read.end()
    stalls.check()


def test_every_thread_has_a_desk_of_its_own() -> None:
    stalls, reads = StallDetector(1.0), []
    pool = DaemonPool(1, name="test-read")
    other = pool.submit(stalls.in_flight).result(10)
    reads.append(stalls.in_flight())
    pool.close()
    other.begin("that of the other thread")
    other.since_s -= 2

    assert other is not reads[0]
    with pytest.raises(StorageError, match="other thread"):
        stalls.check()
