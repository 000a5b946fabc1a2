"""The commands of a clip, as a source recorded them and as its canonical actions give them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from vita_data.types.clip import Clip
from vita_data.types.source import RawTree, SourceSettings
from vita_data.types.terms import Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CommandPair:
    """One quantity of the commands of a clip's T rows, in the units of its name."""

    name: str
    recorded: Float64
    """[T, D] from the raw file, after the limits that the robot applies to it."""
    rebuilt: Float64
    """[T, D] from the stored actions and states."""

    @property
    def errors(self) -> Float64:
        """The largest difference of each row [T]; infinite where a number is not finite."""
        differences = np.abs(self.recorded - self.rebuilt)
        return np.asarray(np.nan_to_num(differences, nan=np.inf).max(axis=1), np.float64)


CommandReader = Callable[[Clip], tuple[CommandPair, ...]]
"""Reads the raw rows that a clip names by `provenance` and `step_index`, and rebuilds their commands."""


@runtime_checkable
class CommandedSource(Protocol):
    """A source whose canonical actions determine the recorded commands."""

    def command_reader(self, raw: RawTree, settings: SourceSettings) -> CommandReader:
        """Make a reader, which is fastest for clips in the order of their shards; `settings` are those of the build.

        The reader raises SourceError or EpisodeError if the rows cannot be read.
        """
