"""Replays demonstrations that `vita-eval robosuite record` made, in robosuite."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vita_data.errors import RequestError
from vita_data.types import Demonstration, Float64
from vita_model.sims.replay.clips import OneAtATime, OpenWorld
from vita_model.sims.robosuite.tasks import TASKS, RobosuiteTask
from vita_model.sims.scripted.task import TaskSpec


class RobosuiteWorld:
    """robosuite at the state of a demonstration's first row.

    The seed restores what the flattened state lacks: the controller's rest posture and orientation goal, and the
    gripper's ramp, which has opened while the objects settled.
    """

    def __init__(self, task: RobosuiteTask, state: Float64, seed: int) -> None:
        self._task, self._state, self._seed = task, state, seed

    def restore(self) -> None:
        """Reset by the seed, then set positions and velocities."""
        self._task.reset(self._seed)
        self._task.restore(self._state)

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._task.step(command)

    def hand_m(self) -> Float64:
        """Read the grip site."""
        return self._task.proprioception().xyz_m

    @property
    def is_success(self) -> bool:
        """Whether robosuite currently reports success."""
        return self._task.is_success


@contextmanager
def robosuite_worlds() -> Iterator[OpenWorld]:
    """Open robosuite's tasks.

    Raises:
        RequestError: robosuite is missing, or a demonstration was not recorded in it.
    """
    opened = OneAtATime[RobosuiteTask]()

    def build(spec: TaskSpec) -> tuple[RobosuiteTask, Callable[[], None]]:
        task = RobosuiteTask(spec)
        return task, task.close

    def open_world(name: str, demonstration: Demonstration) -> RobosuiteWorld:
        spec, seed = _spec(name, demonstration), demonstration.world["seed"]
        return RobosuiteWorld(opened.get(spec.name, lambda: build(spec)), demonstration.state, int(str(seed)))

    with opened:
        yield open_world


def _spec(name: str, demonstration: Demonstration) -> TaskSpec:
    if "seed" not in demonstration.world:
        raise RequestError(f"{name}: expected a recording of `vita-eval robosuite record`, got another HDF5 file")
    found = demonstration.world.get("env_name")
    spec = next((spec for spec in TASKS.values() if spec.environment == found), None)
    if spec is None:
        known = ", ".join(spec.environment for spec in TASKS.values())
        raise RequestError(f"{name}: expected a robosuite task of {known}, got {found!r}")
    return spec
