"""What a LeRobot dataset says about one of its episodes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vita_data.formats.lerobot.info import INFO_FILE, ODD, explain
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


def read_entries(
    entries: Iterable[tuple[str, str, Json | Exception]], read: Callable[[Json], LeRobotEpisode], *, layout: int
) -> Iterator[LeRobotEpisode]:
    """Yield an episode per entry of a list; an entry that cannot be read, or repeats an index, has a fault.

    Args:
        entries: the id and place of each entry, for messages, and the entry or why it could not be parsed.
        read: makes the episode of an entry.
        layout: 2 or 3, of the format.
    """
    seen = set[int]()
    for id_, place, entry in entries:
        try:
            if isinstance(entry, Exception):
                raise entry
            episode = read(entry)
            if episode.index in seen:
                raise ValueError(f"episode_index {episode.index} occurs more than once")
        except ODD as error:
            yield faulty_episode(id_, f"{place}: {explain(error, layout)}")
            continue
        seen.add(episode.index)
        yield episode


def missing_entries(name: str, *, listed: int, total: object) -> Iterator[LeRobotEpisode]:
    """Yield an episode with a fault if a list has fewer entries than `meta/info.json` says."""
    if isinstance(total, int) and total > listed:
        fault = f"{name} lists {listed} episodes, but {INFO_FILE} has total_episodes {total}; fetch both again"
        yield faulty_episode(f"{name}#{listed:06d}", fault)


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
