"""Ctrl-C inside compiled code ends an evaluation after the step, and not by the SystemError that numba makes of it."""

import signal
import threading

import pytest

from vita_model.sims.robosuite import tasks
from vita_model.sims.robosuite.interruption import interrupted_afterwards
from vita_model.sims.scripted.task import no_op


class Environment:
    """Is interrupted in its step; a KeyboardInterrupt there would become another error."""

    ended = False

    def step(self, command):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as fault:
            raise SystemError("a result with an exception set") from fault
        self.ended = True


@pytest.fixture
def heard():
    """Hear Ctrl-C, which a program started in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_an_interruption_comes_after_the_step(monkeypatch):
    environment, before = Environment(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(tasks, "_make", lambda spec: environment)
    with pytest.raises(KeyboardInterrupt):
        tasks.RobosuiteTask(tasks.TASKS["lift"]).step(no_op())
    assert environment.ended
    assert signal.getsignal(signal.SIGINT) is before


def test_other_errors_pass_and_an_ignored_signal_stays_ignored():
    with pytest.raises(ValueError, match="broken"), interrupted_afterwards():
        raise ValueError("broken")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupted_afterwards():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_nothing():
    faults = []

    def run():
        try:
            with interrupted_afterwards():
                pass
        except ValueError as fault:  # signal.signal refuses other threads
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert faults == []
