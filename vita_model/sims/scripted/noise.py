"""Disturbances of a scripted expert's path, so that demonstrations include recoveries."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vita_data.config.checks import require_not_negative, require_whole
from vita_data.types import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class PathNoise:
    """Disturbances of the expert's path, in units of its commands; the default is none.

    The robot executes the disturbed command, but the file stores the expert's own command as label. A policy thus
    learns to recover from states that its own errors may lead to.
    """

    step_std: float = 0.0
    """Standard deviation of the noise on each translation command."""
    push_rate: float = 0.0
    """Probability per step that a push starts."""
    push_steps: int = 4
    push_size: float = 1.0
    start_steps: int = 0
    """Maximum number of random steps before the recording, so that episodes start from many poses."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_not_negative(self, "step_std", "push_rate", "push_size", most=1.0)
        require_whole(self, "push_steps")
        require_whole(self, "start_steps", least=0)


CALM = PathNoise()
DISTURBED = PathNoise(step_std=0.15, push_rate=0.04, push_steps=4, push_size=0.9, start_steps=8)


def disturbances(noise: PathNoise, generator: np.random.Generator) -> Iterator[Float64]:
    """Yield the disturbance of each command's translation [3]."""
    left, push = 0, np.zeros(3)
    while True:
        if not left and generator.random() < noise.push_rate:
            direction = generator.normal(size=3)
            left, push = noise.push_steps, noise.push_size * direction / np.linalg.norm(direction)
        yield generator.normal(size=3) * noise.step_std + (push if left else 0.0)
        left = max(0, left - 1)
