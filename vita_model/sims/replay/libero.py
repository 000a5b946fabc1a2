"""Replays LIBERO's recordings in LIBERO."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Demonstration
from vita_model.policy.interfaces import PolicyInfo
from vita_model.sims.benchmarks.libero import CONVENTION, IMAGE_SIZE
from vita_model.sims.benchmarks.libero_installation import NAME, LiberoSuite
from vita_model.sims.benchmarks.libero_task import LiberoTask
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.replay.clips import OneAtATime, OpenWorld

_NO_STATES = np.zeros((0, 0))
"""A replay starts from its recording."""
_INFO = PolicyInfo(name="replay", convention=CONVENTION)


class LiberoWorld:
    """LIBERO at the state of a demonstration's first row, with the fixtures in their places."""

    def __init__(self, task: LiberoTask, demonstration: Demonstration, name: str) -> None:
        model = demonstration.world.get("model_file")
        self._task, self._state, self._name = task, demonstration.state, name
        self._model = None if model is None else str(model)
        self.hand_m, self.step = task.hand_m, task.step

    def restore(self) -> None:
        """Return to the initial state; raises VitaDataError."""
        try:
            self._task.restore(self._state, self._model)
        except VitaDataError as error:
            raise type(error)(f"{self._name}: {error}") from error

    @property
    def is_success(self) -> bool:
        """Whether LIBERO reported success in the last step."""
        return self._task.is_success


class _Tasks:
    """Builds LIBERO's tasks; suites are imported once."""

    def __init__(self, assets: Path | None) -> None:
        self._assets, self._suites = assets, dict[str, LiberoSuite]()

    def build(self, name: str, task: str, episode: str) -> tuple[LiberoTask, Callable[[], None]]:
        if name not in self._suites:
            self._suites[name] = LiberoSuite(name, self._assets, IMAGE_SIZE)
        suite = self._suites[name]
        numbers = {suite.task_name(number): number for number in range(suite.num_tasks)}
        if task not in numbers:
            raise RequestError(
                f"{episode}: {NAME} has no task {task} in {name}; recordings of `vita-eval robosuite record` need "
                "--simulator robosuite"
            )
        environment = suite.environment(numbers[task])
        return LiberoTask(environment, _NO_STATES, suite.instruction(numbers[task]), _INFO), environment.close


@contextmanager
def libero_worlds(assets: Path | None) -> Iterator[OpenWorld]:
    """Open LIBERO's tasks.

    Raises:
        RequestError: LIBERO or its assets are missing or fail, or it does not have the task of a demonstration.
    """
    tasks, opened = _Tasks(assets), OneAtATime[LiberoTask]()

    def open_world(episode: str, demonstration: Demonstration) -> LiberoWorld:
        suite, task = str(demonstration.world["suite"]), str(demonstration.world["task"])
        simulator = opened.get(f"{suite}/{task}", lambda: tasks.build(suite, task, episode))
        return LiberoWorld(simulator, demonstration, episode)

    with quiet(NAME), opened:
        yield open_world
