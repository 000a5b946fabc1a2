"""Replays the first demonstrations of a built source in their simulator, whichever it is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from typing import Generic, Self, TypeVar

from vita_data.command.progress import SILENT, Progress
from vita_data.replay import BuiltFrom, demonstration_reader
from vita_data.types import Demonstration
from vita_model.sims.replay.loop import Recording, ReplayedWorld, ReplayResult, replay_both

CHUNK_STEPS = 5
OpenWorld = Callable[[str, Demonstration], ReplayedWorld]
"""Opens the simulator of a demonstration; the text names it in errors."""

T = TypeVar("T")


class OneAtATime(Generic[T]):
    """Keeps one simulator open, the one that was asked for last; a context that closes it."""

    def __init__(self) -> None:
        self._opened: tuple[str, T] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._stack.close()

    def get(self, name: str, build: Callable[[], tuple[T, Callable[[], None]]]) -> T:
        """Give the simulator of a name; `build` makes it, and gives the function that closes it."""
        if self._opened is None or self._opened[0] != name:
            self._stack.close()
            simulator, close = build()
            self._stack.callback(close)
            self._opened = name, simulator
        return self._opened[1]


def replay_clips(
    built: BuiltFrom,
    num_episodes: int,
    simulator: AbstractContextManager[OpenWorld],
    progress: Progress = SILENT,
) -> Sequence[ReplayResult]:
    """Replay the first clips of a built source.

    Args:
        built: the source and its download.
        num_episodes: number of clips.
        simulator: a context that closes what it opened.
        progress: counts the demonstrations.

    Raises:
        RequestError: the simulator is missing, or the raw files were not recorded in it.
        VitaDataError: a raw file lacks what a replay needs.
    """
    read, results = demonstration_reader(built), list[ReplayResult]()
    progress.start(min(num_episodes, built.num_clips))
    with simulator as open_world:
        for clip in islice(built.clips(), num_episodes):
            demonstration = read(clip)
            recording = Recording.of(clip, demonstration)
            results.append(replay_both(recording, open_world(clip.episode, demonstration), chunk_steps=CHUNK_STEPS))
            progress.update(note=f"{results[-1].difference_mm:.4f} mm")
    return results
