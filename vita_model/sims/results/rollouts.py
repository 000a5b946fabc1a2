"""The closed loop for every simulator: call a policy, execute the start of its chunk, call it again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vita_data.config.checks import require_whole
from vita_data.types import CameraRole, Float64, Image
from vita_model.policy.chunks import Chunked, Execution, Timing
from vita_model.policy.interfaces import Observation, Policy
from vita_model.sims.results.scores import EpisodeResult


class Simulation(Protocol):
    """One task of a simulator."""

    def reset(self, seed: int) -> None:
        """Start an episode; the same seed gives the same initial state."""
        ...

    def observe(self) -> Observation:
        """Read cameras and arm; expensive."""
        ...

    def step(self, command: Float64) -> None:
        """Execute one command [7]."""
        ...

    @property
    def is_success(self) -> bool:
        """Whether the task is currently solved."""
        ...


class Ending(StrEnum):
    """When an episode ends, and what counts as success."""

    FIRST_SUCCESS = "first_success"
    """At the first success."""
    LAST_STEP = "last_step"
    """After `max_steps`; success is judged at that point (SimplerEnv)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Maximum length of an episode, and how often the policy is called."""

    max_steps: int
    replan_steps: int
    """Commands executed from each chunk; a shorter chunk is executed completely."""
    ending: Ending = Ending.FIRST_SUCCESS
    execution: Execution = Execution.SYNCHRONOUS
    latency_steps: int = 0
    """Steps from a request to its answer; without them, the simulator waits for the policy."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers; raises RequestError."""
        require_whole(self, "max_steps")
        _ = self.timing

    @property
    def timing(self) -> Timing:
        """When the policy is asked."""
        return Timing(replan_steps=self.replan_steps, execution=self.execution, latency_steps=self.latency_steps)


@dataclass(slots=True)
class Strip:
    """Images of one episode: one before each step, and one of the end."""

    images: list[Image] = field(default_factory=list)


def roll_out(
    simulation: Simulation, policy: Policy, config: LoopConfig, *, seed: int, strip: Strip | None = None
) -> EpisodeResult:
    """Run one episode to its end.

    Args:
        simulation: one task.
        policy: policy with commands of that simulator.
        config: limits.
        seed: seed of the episode.
        strip: collects images of the primary camera, if given.
    """
    simulation.reset(seed)
    chunked = Chunked(policy, config.timing)
    chunked.reset()

    steps = 0
    while steps < config.max_steps:
        if config.ending is Ending.FIRST_SUCCESS and simulation.is_success:
            break
        simulation.step(chunked.next(observer(simulation.observe, strip)))
        steps += 1
    if strip is not None:
        observer(simulation.observe, strip)
    return EpisodeResult(seed=seed, success=simulation.is_success, num_steps=steps, num_idle=chunked.num_idle)


def observer(observe: Callable[[], Observation], strip: Strip | None) -> Callable[[], Observation]:
    """Observe only when asked, unless a strip wants an image of every step."""
    if strip is None:
        return observe
    observation = observe()
    strip.images.append(observation.images[CameraRole.PRIMARY])
    return lambda: observation
