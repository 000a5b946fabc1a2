"""Recorded demonstrations as their simulator needs them to execute them again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vita_data.types.clip import Clip
from vita_data.types.source import RawTree, SourceSettings
from vita_data.types.terms import Float64, Int64, Json


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demonstration:
    """A recording of N rows, from the first row of a clip on."""

    rows: Int64
    """[T] which of them the clip has; the first is 0. The reader may have left others out, such as no-ops."""
    commands: Float64
    """[N, 7] raw commands, each of them as the recorder wanted it."""
    executed: Float64
    """[N, 7] what was executed: the same, unless the recorder disturbed it."""
    end_m: Float64
    """[3] position of the hand after the last command."""
    success: bool
    """Whether the task was solved at the end."""
    state: Float64
    """[D] the simulator's state before the first command, in the form of its recorder."""
    world: Json
    """What else the simulator is built from: task, scene, seed, model; its keys are the source's."""


DemonstrationReader = Callable[[Clip], Demonstration]
"""Reads the demonstration of a clip; raises RequestError if the raw data lacks what a simulator needs."""


@runtime_checkable
class SimulatedSource(Protocol):
    """A source that was recorded in a simulator, and whose raw data has the states to start it from."""

    def demonstration_reader(self, raw: RawTree, settings: SourceSettings) -> DemonstrationReader:
        """Make a function that reads the demonstration of each clip."""
        ...
