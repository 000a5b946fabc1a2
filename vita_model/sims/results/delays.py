"""How long the policy of an evaluation takes to answer, and what the robot does meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vita_data.config.checks import require_whole
from vita_data.types import Json
from vita_model.policy.chunks import Execution, latency_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A simulated delay."""

    latency_ms: int = 0
    """Time from a request to the policy's answer, rounded up to control steps."""
    execution: Execution = Execution.SYNCHRONOUS

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "latency_ms", least=0)

    def steps(self, hz: float) -> int:
        """Count the delay in control steps."""
        return latency_steps(self.latency_ms, hz)

    def settings(self, hz: float) -> Json:
        """Describe the delay for results, as JSON values."""
        return {
            "execution": str(self.execution), "latency_ms": self.latency_ms, "latency_steps": self.steps(hz)
        }  # fmt: skip


NO_DELAY = Delay()
"""As in published evaluations: the simulator waits for the policy."""


class TimedSteps(Protocol):
    """Something that ran: an episode, a chain, or several of them."""

    @property
    def num_steps(self) -> int:
        """Number of control steps."""
        ...

    @property
    def num_idle(self) -> int:
        """Those in which the robot stood still because the policy had not answered."""
        ...


def idle_percent(ran: Sequence[TimedSteps]) -> float:
    """Give the share of the steps in which the robot stood still; 0 without steps."""
    return 100.0 * sum(one.num_idle for one in ran) / max(sum(one.num_steps for one in ran), 1)
