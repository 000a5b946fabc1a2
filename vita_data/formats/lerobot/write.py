"""Writes small LeRobot datasets of format v2.1, so that any reader of real datasets can read a toy dataset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.formats.video.stream import write_toy_video
from vita_data.types import Float64, Image, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyLeRobotEpisode:
    """One episode to write: its text, extra fields for its entry in meta, columns and RGB frames per camera."""

    text: str
    meta: Json
    columns: Mapping[str, Float64]
    """[T, D], in format v3.0 also [T]."""
    videos: Mapping[str, Sequence[Image]]
    images: Mapping[str, Sequence[Image]] = field(default_factory=dict)
    """Cameras stored as PNG in the table (v3.0)."""
    strings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Columns of texts (v3.0)."""

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))


def write_lerobot(root: str, *, fps: int, info: Json, episodes: Sequence[ToyLeRobotEpisode]) -> None:
    """Write a small dataset of format v2.1; `info` is added to `meta/info.json`."""
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    first = episodes[0]
    features: dict[str, object] = {
        key: {"dtype": "float32", "shape": [values.shape[1]], "names": None} for key, values in first.columns.items()
    }
    features |= {key: {"dtype": "video", "shape": list(frames[0].shape)} for key, frames in first.videos.items()}
    common = {"codebase_version": "v2.1", "fps": fps, "chunks_size": 1000, "data_path": data, "video_path": video}
    lines: list[Json] = []
    for index, episode in enumerate(episodes):
        place = {"episode_chunk": 0, "episode_index": index}
        num_rows = episode.num_rows
        lines.append({"episode_index": index, "tasks": [episode.text], "length": num_rows, **episode.meta})
        _write_table(Path(root) / data.format(**place), episode, index=index, fps=fps)
        for key, frames in episode.videos.items():
            path = Path(root) / video.format(**place, video_key=key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_toy_video(str(path), frames, fps=fps)
    meta = Path(root) / "meta"
    meta.mkdir(exist_ok=True)
    (meta / "info.json").write_text(json.dumps({**common, "features": features, **info}, indent=1))
    (meta / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = [{"task_index": index, "task": episode.text} for index, episode in enumerate(episodes)]
    (meta / "tasks.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))


def _write_table(path: Path, episode: ToyLeRobotEpisode, *, index: int, fps: int) -> None:
    columns = {
        key: pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1])
        for key, values in episode.columns.items()
    }
    rows = np.arange(episode.num_rows)
    columns |= {"timestamp": pa.array((rows / fps).astype(np.float32)), "frame_index": pa.array(rows)}
    columns |= {"episode_index": pa.array(np.full(len(rows), index)), "task_index": pa.array(np.full(len(rows), index))}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
