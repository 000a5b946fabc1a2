"""What disturbs the path of a scripted expert, so that its demonstrations show ways back."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vita_data.config.checks import require_not_negative, require_whole
from vita_data.types import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class PathNoise:
    """What disturbs the expert's path, in units of its commands; zero everywhere: nothing does.

    The robot carries out the disturbed command and the file keeps the expert's own as label, so that a policy sees
    how to come back from where its own errors may take it.
    """

    step_std: float = 0.0
    """Of each translation command."""
    push_rate: float = 0.0
    """Chance a step that a push begins."""
    push_steps: int = 4
    push_size: float = 1.0
    start_steps: int = 0
    """Longest random walk before the recording, so that episodes start from many poses."""

    def __post_init__(self) -> None:
        """Refuse what is no noise; raises RequestError."""
        require_not_negative(self, "step_std", "push_rate", "push_size", most=1.0)
        require_whole(self, "push_steps")
        require_whole(self, "start_steps", least=0)


CALM = PathNoise()
DISTURBED = PathNoise(step_std=0.15, push_rate=0.04, push_steps=4, push_size=0.9, start_steps=8)


def disturbances(noise: PathNoise, generator: np.random.Generator) -> Iterator[Float64]:
    """Yield what is added to the translation [3] of each command."""
    left, push = 0, np.zeros(3)
    while True:
        if not left and generator.random() < noise.push_rate:
            direction = generator.normal(size=3)
            left, push = noise.push_steps, noise.push_size * direction / np.linalg.norm(direction)
        yield generator.normal(size=3) * noise.step_std + (push if left else 0.0)
        left = max(0, left - 1)
