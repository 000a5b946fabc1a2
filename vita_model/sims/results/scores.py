"""Success counts, their intervals, and results as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vita_data.storage.files import write_atomically

_Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeResult:
    """How one episode ended."""

    seed: int
    success: bool
    num_steps: int
    num_idle: int = 0
    """Steps in which the robot stood still because the policy had not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRate:
    """Success rate of independent episodes with its 95 % interval."""

    num_successes: int
    num_episodes: int

    @property
    def percent(self) -> float:
        """Success rate in percent; NaN without episodes."""
        return 100.0 * self.num_successes / self.num_episodes if self.num_episodes else math.nan

    @property
    def interval_percent(self) -> tuple[float, float]:
        """Wilson's score interval (Wilson 1927), which stays within 0 .. 100 and has a width at 0 % and 100 %."""
        if not self.num_episodes:
            return 0.0, 100.0
        n, p = self.num_episodes, self.num_successes / self.num_episodes
        spread = _Z_95 * math.sqrt(p * (1 - p) / n + _Z_95**2 / (4 * n**2))
        centre, scale = p + _Z_95**2 / (2 * n), 100.0 / (1 + _Z_95**2 / n)
        return round(scale * (centre - spread), 9), round(scale * (centre + spread), 9)

    def __str__(self) -> str:
        """Format count, rate and interval."""
        low, high = self.interval_percent
        return f"{self.num_successes}/{self.num_episodes} = {self.percent:.1f} % (95 %: {low:.1f} to {high:.1f})"


def success_rate(episodes: Sequence[EpisodeResult]) -> SuccessRate:
    """Count successes."""
    return SuccessRate(num_successes=sum(episode.success for episode in episodes), num_episodes=len(episodes))


def ends_of(episodes: Mapping[str, Sequence[EpisodeResult]]) -> dict[tuple[str, int], bool]:
    """Tell by task and seed which episodes succeeded."""
    return {(task, one.seed): one.success for task, found in episodes.items() for one in found}


def rate_json(rate: SuccessRate) -> dict[str, object]:
    """Convert a rate to JSON values."""
    return asdict(rate) | {"percent": rate.percent, "interval_percent": list(rate.interval_percent)}


def write_json(path: Path, result: object) -> None:
    """Write a result file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())
