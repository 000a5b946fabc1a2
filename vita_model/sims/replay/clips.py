"""Replays the first demonstrations of a built source in their simulator, whichever it is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice

from vita_data.command.progress import SILENT, Progress
from vita_data.replay import BuiltFrom, demonstration_reader
from vita_data.types import Demonstration
from vita_model.sims.replay.loop import Recording, ReplayedWorld, ReplayResult, replay_both

CHUNK_STEPS = 5
OpenWorld = Callable[[str, Demonstration], ReplayedWorld]
"""Opens the simulator of a demonstration; the text names it in errors."""


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
