"""LeRobot datasets of format v2: one parquet table and one video a camera for each episode, described by `meta/`.

Source: huggingface/lerobot, datasets of codebase_version v2.0 and v2.1. Version 3.0, which packs episodes together, is
refused. What columns mean is the source's business.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.errors import EpisodeError, RequestError, SourceError, raise_machine_fault
from vita_data.formats.file_head import look, unreadable, unreadable_text
from vita_data.formats.video import VideoStream, scan_video, write_toy_video
from vita_data.types import Float64, Image, Json, RawTree

INFO_FILE = "meta/info.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotEpisode:
    """What `meta/episodes.jsonl` says about one episode, and where its files lie in the raw tree."""

    index: int
    num_steps: int
    texts: tuple[str, ...]
    meta: Json
    """The whole line, with what the recorder added to it."""
    table: str
    videos: Mapping[str, str]
    """Video feature -> file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotDataset:
    """A dataset's description; `info` is the whole of `meta/info.json`."""

    root: str
    fps: float
    info: Json
    episodes: tuple[LeRobotEpisode, ...]


def find_lerobot(raw: RawTree) -> list[str]:
    """List the folders that hold a LeRobot dataset: the raw tree itself (an empty name), or folders right in it."""
    if raw.exists(INFO_FILE):
        return [""]
    return [str(PurePosixPath(path).parents[1]) for path in raw.glob(f"*/{INFO_FILE}")]


def open_lerobot(raw: RawTree, root: str) -> LeRobotDataset:
    """Read the description of a dataset.

    Raises:
        RequestError: it is of another format version.
        SourceError: one of its files is absent, damaged or lacks a field.
    """
    name = _join(root, INFO_FILE)
    try:
        info = json.loads(raw.read_bytes(name))
        version = str(info["codebase_version"])
        if not version.startswith("v2."):
            raise RequestError(f"{name}: LeRobot format {version}; v2.0 and v2.1 are read, convert it to v2.1")
        name = _join(root, "meta/episodes.jsonl")
        lines = [json.loads(line) for line in raw.read_bytes(name).splitlines() if line.strip()]
        _features(info)
        episodes = tuple(_episode(root, info, line) for line in lines)
        return LeRobotDataset(root=root, fps=float(info["fps"]), info=info, episodes=episodes)
    except OSError as error:
        raise_machine_fault(error, name)
        what = unreadable_text(raw, name, reason=str(error.strerror))
        raise SourceError(f"{name}: cannot be read {what}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        found = look(partial(raw.open, name), name=name, own={"text"})
        what = f"; it is {found.what}: {found.advice}" if found else ""
        raise SourceError(f"{name}: not as LeRobot v2 writes it ({type(error).__name__}: {error}){what}") from error


def require_features(
    raw: RawTree, dataset: LeRobotDataset, *, columns: Mapping[str, int], cameras: Sequence[str]
) -> None:
    """Refuse a dataset whose features cannot be read, once and before any episode is read.

    Args:
        raw: the tree, for the message.
        dataset: its description.
        columns: numeric features that a reader cannot do without -> values a row.
        cameras: video features; the first is needed, the others may be absent, and none may lie in the table.

    Raises:
        RequestError: names the features found and those expected.
    """
    features = _features(dataset.info)
    faults = [fault for key, width in columns.items() if (fault := _column_fault(features, key, width))]
    faults += [
        f"no camera {key!r}; rename yours in this file and its folder below videos/"
        for key in cameras[:1]
        if key not in features
    ]
    kinds = {key: str(features[key]["dtype"]) for key in cameras if key in features}
    if inside := [key for key, kind in kinds.items() if kind == "image"]:
        faults.append(f"images inside the table ({', '.join(inside)}), expected videos; write it with use_videos=True")
    faults += [f"{key!r} is {kind}, expected a video" for key, kind in kinds.items() if kind not in ("image", "video")]
    if faults:
        found = ", ".join(f"{key} ({_kind(feature)})" for key, feature in features.items()) or "no features"
        name = _join(dataset.root, INFO_FILE)
        raise RequestError(f"{name} in {raw.root}: {'; '.join(faults)}. Found: {found}")


def _column_fault(features: Mapping[str, Json], key: str, width: int) -> str:
    if key not in features:
        return f"no feature {key!r}, expected {width} values a row"
    shape = features[key].get("shape")
    if not isinstance(shape, list) or math.prod(shape) == width:
        return ""
    return f"{key!r} has shape {shape}, expected [{width}]"


def _kind(feature: Json) -> str:
    shape = feature.get("shape")
    return f"{feature['dtype']} {'x'.join(map(str, shape))}" if isinstance(shape, list) else str(feature["dtype"])


def read_table(raw: RawTree, episode: LeRobotEpisode) -> pa.Table:
    """Read the rows of one episode.

    Raises:
        EpisodeError: the file is absent, damaged, or holds another number of rows than the description says.
    """
    if not raw.exists(episode.table):
        raise EpisodeError(f"{episode.table}: listed in meta/episodes.jsonl, but absent; fetch the whole dataset")
    try:
        table = pq.read_table(raw.local_path(episode.table))
    except (OSError, pa.ArrowException) as error:
        raise_machine_fault(error, episode.table)
        what = unreadable(
            raw.local_path(episode.table), name=episode.table, reason="the file is damaged", own={"parquet"}
        )
        raise EpisodeError(f"{episode.table}: cannot be read {what}") from error
    if table.num_rows != episode.num_steps:
        raise EpisodeError(f"{episode.table}: {table.num_rows} rows where meta/episodes.jsonl says {episode.num_steps}")
    return table


def read_column(table: pa.Table, key: str, *, width: int, name: str) -> Float64:
    """Take a numeric column as [T, width]; a column of plain numbers has width 1.

    Raises:
        EpisodeError: the column is missing, not numeric or of another width.
    """
    if key not in table.column_names:
        raise EpisodeError(f"{name}: no column {key!r}; found {', '.join(table.column_names)}")
    try:
        values = np.array(table[key].to_pylist(), np.float64).reshape(table.num_rows, -1)
    except (TypeError, ValueError) as error:
        raise EpisodeError(f"{name}: column {key!r} is {table.schema.field(key).type}, expected [{width}]") from error
    if values.shape[1] != width:
        raise EpisodeError(f"{name}: column {key!r} has {values.shape[1]} values a row, expected {width}")
    return values


def open_camera(raw: RawTree, episode: LeRobotEpisode, key: str) -> VideoStream:
    """Open the video of one camera; frame t in presentation order belongs to row t.

    Raises:
        EpisodeError: there is no such camera or file, or it shows another number of frames than there are rows.
    """
    name = episode.videos.get(key)
    if name is None or not raw.exists(name):
        raise EpisodeError(f"{name or episode.table}: no video of {key!r}; found {', '.join(episode.videos) or 'none'}")
    local = raw.local_path(name)
    info = scan_video(local, name=name)
    if info.num_shown != episode.num_steps:
        raise EpisodeError(f"{name}: shows {info.num_shown} frames for {episode.num_steps} rows")
    rows = np.arange(info.num_shown)
    return VideoStream(local, info=replace(info, step_index=rows, frame_index=rows), name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyLeRobotEpisode:
    """One episode to write: its text, what is added to its line of meta, columns [T, D] and RGB frames per video."""

    text: str
    meta: Json
    columns: Mapping[str, Float64]
    videos: Mapping[str, Sequence[Image]]


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
        num_rows = len(next(iter(episode.columns.values())))
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
    rows = np.arange(len(next(iter(episode.columns.values()))))
    columns |= {"timestamp": pa.array((rows / fps).astype(np.float32)), "frame_index": pa.array(rows)}
    columns |= {"episode_index": pa.array(np.full(len(rows), index)), "task_index": pa.array(np.full(len(rows), index))}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _episode(root: str, info: Json, line: Json) -> LeRobotEpisode:
    index, chunk_size, features = int(str(line["episode_index"])), int(str(info["chunks_size"])), _features(info)
    place = {"episode_chunk": index // chunk_size, "episode_index": index}
    if not isinstance(tasks := line["tasks"], list):
        raise TypeError("tasks must be a list")
    cameras = [key for key, feature in features.items() if feature["dtype"] == "video"]
    video_path = str(info["video_path"]) if cameras else ""
    return LeRobotEpisode(
        index=index,
        num_steps=int(str(line["length"])),
        texts=tuple(str(text) for text in tasks),
        meta=line,
        table=_join(root, str(info["data_path"]).format(**place)),
        videos={key: _join(root, video_path.format(**place, video_key=key)) for key in cameras},
    )


def _features(info: Json) -> Mapping[str, Json]:
    found = info["features"]
    if not isinstance(found, dict) or not all(isinstance(one, dict) and "dtype" in one for one in found.values()):
        raise TypeError("features must be a table of tables with a dtype")
    return found


def _join(root: str, path: str) -> str:
    return str(PurePosixPath(root) / path)
