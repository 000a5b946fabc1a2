"""The `meta/` folder of a LeRobot dataset of format v2: its features, its episodes, and the paths of their files.

Source: huggingface/lerobot, datasets of codebase_version v2.0 and v2.1. Version 3.0, which packs episodes together, is
not supported.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from vita_data.errors import RequestError, SourceError, raise_machine_fault
from vita_data.formats.raw_tree.file_head import look, unreadable_text
from vita_data.types import Json, RawTree

INFO_FILE = "meta/info.json"
EPISODES_FILE = "meta/episodes.jsonl"
_ODD = (ValueError, KeyError, TypeError, IndexError, ArithmeticError)
"""Exceptions of a missing field or a field of another type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotEpisode:
    """The content of `meta/episodes.jsonl` about one episode, and the paths of its files in the raw tree."""

    index: int
    num_steps: int
    texts: tuple[str, ...]
    meta: Json
    """The whole line, including fields that the recorder added."""
    table: str
    videos: Mapping[str, str]
    """The file of each video feature."""
    fault: str = ""
    """What is wrong with its line; `table` then names the line, and the other fields are meaningless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotDataset:
    """A dataset's description; `info` is the content of `meta/info.json`."""

    root: str
    fps: float
    info: Json
    episodes: tuple[LeRobotEpisode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    """The paths of an episode's files, relative to `root`."""

    root: str
    chunk_size: int
    table: str
    video: str
    cameras: tuple[str, ...]

    def of(self, index: int) -> tuple[str, dict[str, str]]:
        """Return the table path of an episode, and its video paths by feature."""
        place = {"episode_chunk": index // self.chunk_size, "episode_index": index}
        videos = {key: join(self.root, self.video.format(**place, video_key=key)) for key in self.cameras}
        return join(self.root, self.table.format(**place)), videos


def find_lerobot(raw: RawTree) -> list[str]:
    """List the folders with a LeRobot dataset: the raw tree itself (an empty name) or its direct subfolders."""
    if raw.exists(INFO_FILE):
        return [""]
    return [str(PurePosixPath(path).parents[1]) for path in raw.glob(f"*/{INFO_FILE}")]


def open_lerobot(raw: RawTree, root: str) -> LeRobotDataset:
    """Read the description of a dataset; an invalid line of its list becomes an episode with a fault.

    Raises:
        RequestError: the dataset has another format version.
        SourceError: one of its files is missing, damaged or lacks a field, or no line of the list can be read.
    """
    name = join(root, INFO_FILE)
    try:
        info = json.loads(raw.read_bytes(name))
        version = str(info["codebase_version"])
        if not version.removeprefix("v").startswith("2."):
            raise RequestError(
                f"{name}: expected LeRobot format v2.0 or v2.1, got {version}; convert the dataset to v2.1"
            )
        name = join(root, EPISODES_FILE)
        lines = [_parsed(line) for line in raw.read_bytes(name).splitlines() if line.strip()]
        if all(isinstance(line, Exception) for line in lines):
            raise next((line for line in lines if isinstance(line, Exception)), ValueError("the file has no lines"))
        name = join(root, INFO_FILE)
        fps, paths = _fps(info), _paths(root, info)
    except OSError as error:
        raise_machine_fault(error, name)
        what = unreadable_text(raw, name, reason=str(error.strerror))
        raise SourceError(f"{name}: cannot be read {what}") from error
    except _ODD as error:
        found = look(partial(raw.open, name), name=name, own={"text"})
        what = f"; it is {found.what}: {found.advice}" if found else ""
        raise SourceError(f"{name}: {_told(error)}{what}") from error
    episodes = tuple(_episodes(paths, lines, total=info.get("total_episodes")))
    if all(episode.fault for episode in episodes):
        what = unreadable_text(raw, join(root, EPISODES_FILE), reason=f"none of its {len(lines)} lines is valid")
        raise SourceError(f"{episodes[0].fault} {what}")
    return LeRobotDataset(root=root, fps=fps, info=info, episodes=episodes)


def require_features(
    raw: RawTree, dataset: LeRobotDataset, *, columns: Mapping[str, int], cameras: Sequence[str]
) -> None:
    """Refuse a dataset without the required features, once, before any episode is read.

    Args:
        raw: the raw tree.
        dataset: the description of the dataset.
        columns: number of values per row of each required numeric feature.
        cameras: video features; the first is required, the others are optional, and none may be images in the table.

    Raises:
        RequestError: names the features found and those expected, or a camera without any video.
    """
    features = _features(dataset.info)
    faults = [fault for key, width in columns.items() if (fault := _column_fault(features, key, width))]
    faults += [
        f"camera {key!r} not found; rename your camera in this file and its folder in videos/"
        for key in cameras[:1]
        if key not in features
    ]
    kinds = {key: str(features[key]["dtype"]) for key in cameras if key in features}
    if inside := [key for key, kind in kinds.items() if kind == "image"]:
        faults.append(f"expected videos, got images in the table ({', '.join(inside)}); write it with use_videos=True")
    faults += [f"{key!r} is {kind}, expected a video" for key, kind in kinds.items() if kind not in ("image", "video")]
    faults += [_no_video(dataset, key) for key, kind in kinds.items() if kind == "video" and _lacks(raw, dataset, key)]
    if faults:
        found = ", ".join(f"{key} ({_kind(feature)})" for key, feature in features.items()) or "no features"
        name = join(dataset.root, INFO_FILE)
        raise RequestError(f"{name} in {raw.root}: {'; '.join(faults)}. Found: {found}")


def join(root: str, path: str) -> str:
    """Return the path of a dataset's file in the raw tree."""
    return str(PurePosixPath(root) / path)


def _column_fault(features: Mapping[str, Json], key: str, width: int) -> str:
    if key not in features:
        return f"feature {key!r} not found, expected {width} values per row"
    shape = features[key].get("shape")
    if not isinstance(shape, list) or math.prod(shape) == width:
        return ""
    return f"{key!r} has shape {shape}, expected [{width}]"


def _kind(feature: Json) -> str:
    shape = feature.get("shape")
    return f"{feature['dtype']} {'x'.join(map(str, shape))}" if isinstance(shape, list) else str(feature["dtype"])


def _lacks(raw: RawTree, dataset: LeRobotDataset, key: str) -> bool:
    return not any(raw.exists(episode.videos[key]) for episode in dataset.episodes if not episode.fault)


def _no_video(dataset: LeRobotDataset, key: str) -> str:
    first = next(episode.videos[key] for episode in dataset.episodes if not episode.fault)
    return f"all videos of {key!r} are missing, the first is {first}; fetch them, or remove the feature"


def _parsed(line: bytes) -> Json | Exception:
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
    except (ValueError, TypeError) as error:
        return error
    return value


def _fps(info: Json) -> float:
    fps = float(str(info["fps"]))
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be greater than 0, found {fps:g}")
    return fps


def _paths(root: str, info: Json) -> _Paths:
    cameras = tuple(key for key, feature in _features(info).items() if feature["dtype"] == "video")
    found = _Paths(
        root=root,
        chunk_size=int(str(info["chunks_size"])),
        table=_template(info, "data_path"),
        video=_template(info, "video_path") if cameras else "",
        cameras=cameras,
    )
    found.of(0)  # reports a template with unknown variables once
    return found


def _template(info: Json, key: str) -> str:
    if not isinstance(found := info[key], str):
        raise TypeError(f"{key} is {found!r:.80}")
    return found


def _episodes(paths: _Paths, lines: Sequence[Json | Exception], *, total: object) -> Iterator[LeRobotEpisode]:
    """Yield one episode per line, and an episode with a fault if lines are missing."""
    name, seen = join(paths.root, EPISODES_FILE), set[int]()
    for number, line in enumerate(lines):
        try:
            if isinstance(line, Exception):
                raise line
            episode = _episode(paths, line)
            if episode.index in seen:
                raise ValueError(f"episode_index {episode.index} occurs more than once")
        except _ODD as error:
            yield _faulty(f"{name}#{number:06d}", f"{name} line {number + 1}: {_told(error)}")
            continue
        seen.add(episode.index)
        yield episode
    if isinstance(total, int) and total > len(lines):
        fault = f"{name} lists {len(lines)} episodes, but {INFO_FILE} has total_episodes {total}; fetch both again"
        yield _faulty(f"{name}#{len(lines):06d}", fault)


def _episode(paths: _Paths, line: Json) -> LeRobotEpisode:
    index, num_steps = int(str(line["episode_index"])), int(str(line["length"]))
    if min(index, num_steps) < 0:
        raise ValueError(f"episode_index {index}, length {num_steps}")
    if not isinstance(tasks := line["tasks"], list):
        raise TypeError("tasks must be a list")
    table, videos = paths.of(index)
    texts = tuple(str(text) for text in tasks)
    return LeRobotEpisode(index=index, num_steps=num_steps, texts=texts, meta=line, table=table, videos=videos)


def _told(error: Exception) -> str:
    return f"not in LeRobot v2 format ({type(error).__name__}: {error})"


def _faulty(table: str, fault: str) -> LeRobotEpisode:
    return LeRobotEpisode(index=-1, num_steps=0, texts=(), meta={}, table=table, videos={}, fault=fault)


def _features(info: Json) -> Mapping[str, Json]:
    found = info["features"]
    if not isinstance(found, dict) or not all(isinstance(one, dict) and "dtype" in one for one in found.values()):
        raise TypeError("features must be an object whose values are objects with a dtype")
    return found
