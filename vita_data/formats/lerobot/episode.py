"""What a LeRobot dataset says about one of its episodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vita_data.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpan:
    """The part of a video file that shows one episode."""

    path: str
    start_s: float = 0.0
    stop_s: float | None = None
    """None if the file shows only this episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotEpisode:
    """One entry of the list of episodes, and the paths of its files in the raw tree."""

    index: int
    num_steps: int
    texts: tuple[str, ...]
    meta: Json
    """The whole entry, including fields that the recorder added, without statistics."""
    table: str
    videos: Mapping[str, VideoSpan]
    """The file of each video feature."""
    images: tuple[str, ...] = field(default=())
    """The features that are images inside the table."""
    is_packed: bool = False
    """Whether the files hold several episodes (v3.0)."""
    first_row: int | None = None
    """The number of the episode's first row in the whole dataset; None if the list does not say."""
    fault: str = ""
    """What is wrong with its entry; `table` then names the entry, and the other fields are meaningless."""

    @property
    def id(self) -> str:
        """The path of its table, with the episode if the table holds several; unique in the raw tree."""
        return f"{self.table}#episode_{self.index:06d}" if self.is_packed and not self.fault else self.table

    @property
    def cameras(self) -> tuple[str, ...]:
        """The features that are videos or images."""
        return (*self.videos, *self.images)


def faulty_episode(entry: str, fault: str) -> LeRobotEpisode:
    """Make the episode of an entry that cannot be read."""
    return LeRobotEpisode(index=-1, num_steps=0, texts=(), meta={}, table=entry, videos={}, fault=fault)


def checked_index(entry: Json) -> tuple[int, int, tuple[str, ...]]:
    """Return the index, length and texts of an entry.

    Raises:
        ValueError: a number is missing or negative.
        TypeError: tasks is not a list.
    """
    index, num_steps = int(str(entry["episode_index"])), int(str(entry["length"]))
    if min(index, num_steps) < 0:
        raise ValueError(f"episode_index {index}, length {num_steps}")
    if not isinstance(tasks := entry["tasks"], list):
        raise TypeError("tasks must be a list")
    return index, num_steps, tuple(str(text) for text in tasks)
