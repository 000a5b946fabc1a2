"""Writes small LeRobot datasets of format v3.0, with several episodes in a file and data and videos cut differently."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.formats.lerobot.layout_v3 import DATA_PATH, OWN, VIDEO_PATH, numbering, write_tasks
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.video.stream import write_toy_video
from vita_data.types import Float64, Image, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How many consecutive episodes are written into one data file and into one video file."""

    per_data_file: int = 100
    per_video_file: int = 100


def write_lerobot_v3(
    root: str, *, fps: int, info: Json, episodes: Sequence[ToyLeRobotEpisode], cut: Cut | None = None
) -> None:
    """Write a small dataset of format v3.0; `info` is added to `meta/info.json`."""
    cut = cut or Cut()
    meta = Path(root) / "meta"
    (meta / "episodes/chunk-000").mkdir(parents=True)
    texts = list(dict.fromkeys(episode.text for episode in episodes))
    starts = np.cumsum([0, *(episode.num_rows for episode in episodes)])
    _write_data(Path(root), episodes, starts, texts, fps=fps, per_file=cut.per_data_file)
    spans = _write_videos(Path(root), episodes, fps=fps, per_file=cut.per_video_file)
    rows = [_entry(number, episode, starts, spans[number], cut) for number, episode in enumerate(episodes)]
    pq.write_table(pa.Table.from_pylist(rows), meta / "episodes/chunk-000/file-000.parquet")
    write_tasks(meta / "tasks.parquet", texts)
    described = {
        "codebase_version": "v3.0",
        "fps": fps,
        "chunks_size": 1000,
        "total_episodes": len(episodes),
        "total_frames": int(starts[-1]),
        "total_tasks": len(texts),
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": _features(episodes[0]),
    }
    (meta / "info.json").write_text(json.dumps({**described, **info}, indent=1))


def _features(episode: ToyLeRobotEpisode) -> Json:
    found: dict[str, Json] = {
        key: {"dtype": "float32", "shape": [values.shape[1] if values.ndim > 1 else 1], "names": None}
        for key, values in episode.columns.items()
    }
    found |= {key: {"dtype": "string", "shape": [1], "names": None} for key in episode.strings}
    for dtype, cameras in (("video", episode.videos), ("image", episode.images)):
        for key, frames in cameras.items():
            found[key] = {"dtype": dtype, "shape": [*frames[0].shape], "names": ["height", "width", "channels"]}
    return found | {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in OWN.items()}


def _entry(number: int, episode: ToyLeRobotEpisode, starts: Float64, spans: Json, cut: Cut) -> Json:
    return {
        "episode_index": number,
        "tasks": [episode.text],
        "length": episode.num_rows,
        "data/chunk_index": 0,
        "data/file_index": number // cut.per_data_file,
        "dataset_from_index": int(starts[number]),
        "dataset_to_index": int(starts[number + 1]),
        **spans,
        **episode.meta,
        "stats/action/min": [0.0],
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def _write_data(
    root: Path, episodes: Sequence[ToyLeRobotEpisode], starts: Float64, texts: Sequence[str], *, fps: int, per_file: int
) -> None:
    """Write the data files, a row group an episode."""
    for first in range(0, len(episodes), per_file):
        path = root / DATA_PATH.format(chunk_index=0, file_index=first // per_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = [
            _table(episode, number, int(starts[number]), texts.index(episode.text), fps=fps)
            for number, episode in enumerate(episodes[first : first + per_file], start=first)
        ]
        with pq.ParquetWriter(path, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)


def _table(episode: ToyLeRobotEpisode, number: int, first_row: int, task: int, *, fps: int) -> pa.Table:
    columns = {key: _column(values.astype(np.float32)) for key, values in episode.columns.items()}
    columns |= {key: pa.array(list(texts), pa.string()) for key, texts in episode.strings.items()}
    columns |= {
        key: pa.array([_png(frame, row) for row, frame in enumerate(frames)]) for key, frames in episode.images.items()
    }
    numbered = numbering(episode.num_rows, fps=fps, episode=number, first_row=first_row, task=task)
    columns |= {key: pa.array(values) for key, values in numbered.items()}
    return pa.table(columns)


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _png(frame: Image, row: int) -> Json:
    return {"bytes": cv2.imencode(".png", frame[..., ::-1])[1].tobytes(), "path": f"frame-{row:06d}.png"}


def _write_videos(
    root: Path, episodes: Sequence[ToyLeRobotEpisode], *, fps: int, per_file: int
) -> list[dict[str, object]]:
    """Write the video files; return where each episode is in them, as its entry says it."""
    spans: list[dict[str, object]] = [{} for _ in episodes]
    for key in episodes[0].videos:
        for first in range(0, len(episodes), per_file):
            path = root / VIDEO_PATH.format(video_key=key, chunk_index=0, file_index=first // per_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            frames: list[Image] = []
            for number, episode in enumerate(episodes[first : first + per_file], start=first):
                start_s = len(frames) / fps
                frames += episode.videos[key]
                spans[number] |= {
                    f"videos/{key}/chunk_index": 0,
                    f"videos/{key}/file_index": first // per_file,
                    f"videos/{key}/from_timestamp": start_s,
                    f"videos/{key}/to_timestamp": len(frames) / fps,
                }
            write_toy_video(str(path), frames, fps=fps)
    return spans
