"""The list of episodes of format v2.0 and v2.1: a line of `meta/episodes.jsonl` for each, which has its own files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vita_data.formats.json_text import parse_json
from vita_data.formats.lerobot.episode import LeRobotEpisode, VideoSpan, checked_index, missing_entries, read_entries
from vita_data.formats.lerobot.info import PathTemplates, fill, join, keys_of
from vita_data.types import Json

EPISODES_FILE = "meta/episodes.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesV2:
    """Where the files of an episode are, by its index."""

    templates: PathTemplates
    chunk_size: int
    videos: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(cls, info: Json, templates: PathTemplates) -> "FilesV2":
        """Read the description, and try the templates once so that an unknown variable is reported once."""
        found = cls(
            templates=templates,
            chunk_size=int(str(info["chunks_size"])),
            videos=keys_of(info, "video"),
            images=keys_of(info, "image"),
        )
        found.paths(0)
        return found

    def paths(self, index: int) -> tuple[str, dict[str, VideoSpan]]:
        """Return the table path of an episode, and its video files by feature."""
        root, place = self.templates.root, {"episode_chunk": index // self.chunk_size, "episode_index": index}
        videos = {
            key: VideoSpan(path=join(root, fill(self.templates.video, **place, video_key=key))) for key in self.videos
        }
        return join(root, fill(self.templates.table, **place)), videos


def parse_lines(data: bytes) -> list[Json | Exception]:
    """Parse each line of the list.

    Raises:
        ValueError: no line can be read.
    """
    lines = [_parsed(line) for line in data.splitlines() if line.strip()]
    if all(isinstance(line, Exception) for line in lines):
        raise next((line for line in lines if isinstance(line, Exception)), ValueError("the file has no lines"))
    return lines


def list_episodes(files: FilesV2, lines: Sequence[Json | Exception], *, total: object) -> Iterator[LeRobotEpisode]:
    """Yield one episode per line, and an episode with a fault if lines are missing."""
    name = join(files.templates.root, EPISODES_FILE)
    entries = ((f"{name}#{number:06d}", f"{name} line {number + 1}", line) for number, line in enumerate(lines))
    yield from read_entries(entries, partial(_episode, files), layout=2)
    yield from missing_entries(name, listed=len(lines), total=total)


def _episode(files: FilesV2, line: Json) -> LeRobotEpisode:
    index, num_steps, texts = checked_index(line)
    table, videos = files.paths(index)
    return LeRobotEpisode(
        index=index, num_steps=num_steps, texts=texts, meta=line, table=table, videos=videos, images=files.images
    )


def _parsed(line: bytes) -> Json | Exception:
    try:
        value = parse_json(line)
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
    except (ValueError, TypeError) as error:
        return error
    return value
