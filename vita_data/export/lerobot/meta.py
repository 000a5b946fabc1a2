"""`meta/` of an exported LeRobot dataset: info, list of episodes, tasks, statistics, and where episodes come from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.export.lerobot.features import Layout
from vita_data.export.lerobot.stats import as_lists
from vita_data.export.lerobot.videos import EpisodeVideo
from vita_data.export.tables import CHUNK, FilePlace, TableFiles
from vita_data.formats.lerobot.info import INFO_FILE
from vita_data.formats.lerobot.layout_v3 import DATA_PATH, VIDEO_PATH, write_tasks
from vita_data.types import Json, Split

EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
ORIGINS = "meta/vita_clips.parquet"
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSizes:
    """How large files grow, in MB as lerobot counts them."""

    data_mb: float = 100
    video_mb: float = 200

    @property
    def data_bytes(self) -> float:
        """The limit of tables."""
        return self.data_mb * 2**20

    @property
    def video_bytes(self) -> float:
        """The limit of videos."""
        return self.video_mb * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an episode comes from, a row of `meta/vita_clips.parquet`."""

    episode_index: int
    key: str
    first_step: int
    split: str
    episode: str
    release: str
    embodiment: str
    instructions: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEpisode:
    """What the list of episodes says of one."""

    index: int
    num_rows: int
    first_row: int
    task: str
    data: FilePlace
    videos: Mapping[str, EpisodeVideo]
    figures: Json
    origin: Origin

    def row(self) -> dict[str, object]:
        """Return the row of the list, except its own place."""
        return {
            "episode_index": self.index,
            "tasks": [self.task],
            "length": self.num_rows,
            "data/chunk_index": self.data.chunk,
            "data/file_index": self.data.file,
            "dataset_from_index": self.first_row,
            "dataset_to_index": self.first_row + self.num_rows,
            **{name: value for key, video in self.videos.items() for name, value in _video(key, video)},
            **{
                f"stats/{key}/{name}": value for key, figures in self.figures.items() for name, value in _lists(figures)
            },
        }


@dataclass(kw_only=True)
class MetaFiles:
    """Collects what `meta/` says, and writes it."""

    root: Path
    layout: Layout
    sizes: FileSizes
    num_rows: int = 0
    num_episodes: int = 0
    splits: dict[str, list[int]] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    _pending: list[dict[str, object]] = field(default_factory=list)
    _origins: list[Origin] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the list of episodes."""
        self._files = TableFiles(self.root, EPISODES_PATH, max_bytes=self.sizes.data_bytes)

    def task_index(self, text: str) -> int:
        """Return the number of a task, a new one for a new text."""
        return self.tasks.setdefault(text, len(self.tasks))

    def add(self, episode: ListedEpisode, split: Split) -> None:
        """List an episode, the next one in order."""
        self.splits.setdefault(split, [episode.index, 0])[1] = episode.index + 1
        self.num_episodes, self.num_rows = episode.index + 1, episode.first_row + episode.num_rows
        self._pending.append(episode.row())
        self._origins.append(episode.origin)
        if len(self._pending) >= _ROWS_AT_ONCE:
            self._flush()

    def finish(self, total: Json) -> None:
        """Complete the list and write the other files; `total` has the figures of all rows."""
        self._flush()
        self._files.close()
        write_tasks(self.root / "meta/tasks.parquet", list(self.tasks))
        pq.write_table(pa.Table.from_pylist([asdict(origin) for origin in self._origins]), self.root / ORIGINS)
        figures = {key: dict(_lists(value)) for key, value in total.items()}
        _write_json(self.root / "meta/stats.json", figures)
        _write_json(self.root / INFO_FILE, self._info())

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_pylist(self._pending)
        place = self._files.place_for(table.nbytes)
        for name, number in (("chunk_index", place.chunk), ("file_index", place.file)):
            table = table.append_column(f"meta/episodes/{name}", pa.repeat(pa.scalar(number, pa.int64()), len(table)))
        self._files.append(table)
        self._pending.clear()

    def _info(self) -> Json:
        return {
            "codebase_version": "v3.0",
            "robot_type": self.layout.robot,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_rows,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": self.sizes.data_mb,
            "video_files_size_in_mb": self.sizes.video_mb,
            "fps": self.layout.fps,
            "splits": {split: f"{first}:{stop}" for split, (first, stop) in self.splits.items()},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.layout.cameras else None,
            "features": self.layout.videos() | self.layout.numbers(),
        }


def _video(key: str, video: EpisodeVideo) -> list[tuple[str, object]]:
    found = {
        "chunk_index": video.place.chunk,
        "file_index": video.place.file,
        "from_timestamp": video.start_s,
        "to_timestamp": video.stop_s,
    }
    return [(f"videos/{key}/{name}", value) for name, value in found.items()]


def _lists(figures: object) -> list[tuple[str, object]]:
    if not isinstance(figures, Mapping):
        raise TypeError(f"expected figures by name, got {figures!r}")
    return list(as_lists(figures).items())


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")
