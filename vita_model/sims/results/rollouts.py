"""The closed loop: ask a policy, carry out the beginning of its chunk, ask again; the same for every simulator."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vita_data.config.checks import require_whole
from vita_data.types import CameraRole, Float64, Image
from vita_model.policy.interfaces import Observation, Policy
from vita_model.sims.results.scores import EpisodeResult


class Simulation(Protocol):
    """One task of a simulator."""

    def reset(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same beginning."""
        ...

    def observe(self) -> Observation:
        """Read cameras and arm now; costly."""
        ...

    def step(self, command: Float64) -> None:
        """Carry out one command [7]."""
        ...

    @property
    def is_success(self) -> bool:
        """Whether the task is done now."""
        ...


class Ending(StrEnum):
    """When an episode is over, and what counts."""

    FIRST_SUCCESS = "first_success"
    """At the first success."""
    LAST_STEP = "last_step"
    """After `max_steps`; success is what holds then (SimplerEnv)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long an episode may last and how often the policy is asked."""

    max_steps: int
    replan_steps: int
    """Commands carried out of each chunk; a shorter chunk is carried out whole."""
    ending: Ending = Ending.FIRST_SUCCESS

    def __post_init__(self) -> None:
        """Refuse numbers below 1; raises RequestError."""
        require_whole(self, "max_steps", "replan_steps")


@dataclass(slots=True)
class Strip:
    """Pictures of one episode, one each time the policy was asked and one of the end."""

    images: list[Image] = field(default_factory=list)


class Chunked:
    """A policy that gives one command at a time, out of chunks."""

    def __init__(self, policy: Policy, replan_steps: int) -> None:
        self._policy, self._replan_steps = policy, replan_steps
        self._left: list[Float64] = []

    def reset(self) -> None:
        """Begin an episode with no commands left over."""
        self._left = []
        self._policy.reset()

    def next(self, observe: Callable[[], Observation]) -> Float64:
        """Give the next command [7]; `observe` is called only where a new chunk is due."""
        if not self._left:
            self._left = list(self._policy.act(observe())[: self._replan_steps])
        return self._left.pop(0)


def roll_out(
    simulation: Simulation, policy: Policy, config: LoopConfig, *, seed: int, strip: Strip | None = None
) -> EpisodeResult:
    """Run one episode to its end.

    Args:
        simulation: one task.
        policy: gives commands of that simulator.
        config: limits.
        seed: of the episode.
        strip: takes pictures of the primary camera, if given.
    """
    simulation.reset(seed)
    chunked = Chunked(policy, config.replan_steps)
    chunked.reset()

    def observe() -> Observation:
        observation = simulation.observe()
        if strip is not None:
            strip.images.append(observation.images[CameraRole.PRIMARY])
        return observation

    steps = 0
    while steps < config.max_steps:
        if config.ending is Ending.FIRST_SUCCESS and simulation.is_success:
            break
        simulation.step(chunked.next(observe))
        steps += 1
    if strip is not None:
        observe()
    return EpisodeResult(seed=seed, success=simulation.is_success, num_steps=steps)


def roll_out_all(
    simulation: Simulation,
    policy: Policy,
    config: LoopConfig,
    *,
    seeds: Iterable[int],
    report: Callable[[EpisodeResult], None],
    strips: dict[int, Strip] | None = None,
) -> list[EpisodeResult]:
    """Run an episode a seed; `strips` holds an empty strip for each seed that is to be seen."""
    results = []
    for seed in seeds:
        result = roll_out(simulation, policy, config, seed=seed, strip=(strips or {}).get(seed))
        report(result)
        results.append(result)
    return results
