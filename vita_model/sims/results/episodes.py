"""One episode of a task, however it is run: in this process or in another, with or without a film."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self

from vita_data.types import Json
from vita_model.policy.interfaces import Policy, restart
from vita_model.sims.results.rollouts import LoopConfig, Simulation, Strip, roll_out
from vita_model.sims.results.scores import EpisodeResult
from vita_model.sims.results.videos import Videos

Made = tuple[Simulation, Callable[[], None]]
"""A simulator, and the function that closes it."""


def play(
    simulation: Simulation, policy: Policy, loop: LoopConfig, group: str, seed: int, videos: Videos | None = None
) -> EpisodeResult:
    """Run one episode; it depends on its task and seed only, not on episodes before it."""
    restart(policy, f"{group} {seed}")
    strip = Strip() if videos else None
    result = roll_out(simulation, policy, loop, seed=seed, strip=strip)
    if videos and strip:
        videos.write(group, seed, strip.images, success=result.success)
    return result


class TaskPlayer:
    """Plays episodes of several tasks with one simulator at a time; a context that closes it."""

    def __init__(
        self,
        make: Callable[[str], Made],
        loop: Callable[[str], LoopConfig],
        policy: Policy,
        videos: Videos | None = None,
    ) -> None:
        """Prepare; `make` and `loop` give the simulator and the limits of a task."""
        self._make, self._loop, self._policy, self._videos = make, loop, policy, videos
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
        result = play(self._simulation, self._policy, self._loop(group), group, number, self._videos)
        return asdict(result)
