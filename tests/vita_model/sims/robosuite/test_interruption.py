"""Ctrl-C inside compiled code ends an evaluation after the step, and not by the SystemError that numba makes of it."""

import signal

import pytest

from vita_model.sims.robosuite import tasks
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
