"""One episode of a task, however it is run: in this process or in another, with or without a film."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

from vita_data.types import Image, Json
from vita_model.policy.interfaces import Policy, restart
from vita_model.sims.results.rollouts import LoopConfig, Simulation, Strip, roll_out
from vita_model.sims.results.scores import EpisodeResult

Made = tuple[Simulation, Callable[[], None]]
"""A simulator, and the function that closes it."""


class Recorder(Protocol):
    """Takes the images of episodes."""

    def wants(self, group: str, number: int) -> bool:
        """Tell whether every step of an episode is shown, and therefore rendered."""
        ...

    def write(self, group: str, number: int, images: Sequence[Image], *, success: bool) -> None:
        """Take the images of one episode, one for each step."""
        ...


def play(
    simulation: Simulation, policy: Policy, loop: LoopConfig, group: str, seed: int, recorder: Recorder | None = None
) -> EpisodeResult:
    """Run one episode; it depends on its task and seed only, not on episodes before it."""
    restart(policy, f"{group} {seed}")
    strip = Strip() if recorder and recorder.wants(group, seed) else None
    result = roll_out(simulation, policy, loop, seed=seed, strip=strip)
    if recorder and strip:
        recorder.write(group, seed, strip.images, success=result.success)
    return result


class TaskPlayer:
    """Plays episodes of several tasks with one simulator at a time; a context that closes it."""

    def __init__(
        self,
        make: Callable[[str], Made],
        loop: Callable[[str], LoopConfig],
        policy: Policy,
        recorder: Recorder | None = None,
    ) -> None:
        """Prepare; `make` and `loop` give the simulator and the limits of a task."""
        self._make, self._loop, self._policy, self._recorder = make, loop, policy, recorder
        self._group: str | None = None
        self._simulation: Simulation | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, group: str, number: int) -> Json:
        """Run an episode; gives its row of the journal."""
        if self._simulation is None or group != self._group:
            self._stack.close()
            self._simulation, close = self._make(group)
            self._stack.callback(close)
            self._group = group
        result = play(self._simulation, self._policy, self._loop(group), group, number, self._recorder)
        return asdict(result)
