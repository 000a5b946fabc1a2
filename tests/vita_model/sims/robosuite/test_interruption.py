"""Ctrl-C inside compiled code of robosuite ends an evaluation as anywhere else; a stand-in raises what it raises."""

import pytest

from vita_model.sims.robosuite import tasks
from vita_model.sims.scripted.task import no_op


class Environment:
    """Raises in its step, as numba does: another error, whose cause is the original one."""

    def __init__(self, cause):
        self.cause = cause

    def step(self, command):
        try:
            try:
                raise self.cause
            except BaseException as fault:
                raise SystemError("unpickle returned a result with an exception set") from fault
        except SystemError as fault:
            raise SystemError("dispatcher returned a result with an exception set") from fault


@pytest.mark.parametrize(("cause", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (ValueError(), SystemError)])
def test_only_ctrl_c_becomes_an_interruption(monkeypatch, cause, seen):
    monkeypatch.setattr(tasks, "_make", lambda spec: Environment(cause))
    with pytest.raises(seen):
        tasks.RobosuiteTask(tasks.TASKS["lift"]).step(no_op())
