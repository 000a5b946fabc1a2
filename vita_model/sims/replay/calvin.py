"""Replays CALVIN's labelled windows in CALVIN."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vita_data.types import Demonstration, Float64
from vita_model.sims.benchmarks.calvin_installation import NAME, open_scene
from vita_model.sims.benchmarks.calvin_table import CalvinTable
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.replay.clips import OneAtATime, OpenWorld

_NUM_ROBOT = 15
"""Numbers of `robot_obs`, which the state begins with; the others are `scene_obs`."""


class CalvinWorld:
    """A scene at the first frame of a window; the oracle compares the present with it."""

    def __init__(self, table: CalvinTable, oracle: Any, demonstration: Demonstration) -> None:
        self._table, self._oracle, self._task = table, oracle, str(demonstration.world["task"])
        self._robot, self._scene = demonstration.state[:_NUM_ROBOT], demonstration.state[_NUM_ROBOT:]
        self._before: Any = None
        self._after: Any = None

    def restore(self) -> None:
        """Put robot and objects in their places."""
        self._table.reset(self._robot, self._scene)
        self._before = self._after = self._table.info()

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._after = self._table.step(command)

    def hand_m(self) -> Float64:
        """Read the position of the tool."""
        return self._table.robot()[:3]

    @property
    def is_success(self) -> bool:
        """Whether the oracle sees the window's task solved."""
        return bool(self._oracle.get_task_info_for_set(self._before, self._after, {self._task}))


@contextmanager
def calvin_worlds() -> Iterator[OpenWorld]:
    """Open CALVIN's scenes, as the clone describes them.

    Raises:
        RequestError: CALVIN is missing or fails, or does not have the scene of a window.
    """
    opened = OneAtATime[tuple[CalvinTable, Any]]()

    def build(scene: str) -> tuple[tuple[CalvinTable, Any], Callable[[], None]]:
        table, oracle = open_scene(scene)
        return (table, oracle), table.close

    def open_world(name: str, demonstration: Demonstration) -> CalvinWorld:
        scene = str(demonstration.world["scene"])
        return CalvinWorld(*opened.get(scene, lambda: build(scene)), demonstration)

    with quiet(NAME), opened:
        yield open_world
