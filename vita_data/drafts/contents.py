"""What a tree in one of the known formats has: columns with the values of some episodes, cameras, texts, rate."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath

import h5py
import numpy as np
import pyarrow as pa

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.hdf5.inside import read_attribute
from vita_data.formats.hdf5.opener import demo_names, find_group, open_hdf5, read_floats
from vita_data.formats.lerobot.dataset import read_column, read_table
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.info import features_of
from vita_data.formats.lerobot.meta import find_lerobot, open_lerobot
from vita_data.formats.rlds.dataset import list_parts, open_dataset, read_shard
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec
from vita_data.formats.rlds.record import RldsRecord
from vita_data.types import Float64, Json, RawTree

OPTION = "--from"
"""The option that a draft's tree is given by."""
NUM_EPISODES = 12
"""How many episodes are read."""
TEXT_WORDS = ("lang", "instruct", "task", "prompt")
_MAX_WIDTH = 64
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal", "steps/reward", "steps/discount")


class Format(StrEnum):
    """The format of a tree."""

    LEROBOT = "LeRobot"
    RLDS = "RLDS"
    HDF5 = "HDF5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A numeric column of some episodes."""

    key: str
    names: tuple[str, ...]
    """The names of its values, lower case; empty if it has none."""
    episodes: tuple[Float64, ...]
    """[T, D] each"""
    first: int = 0
    """Where the values stand in the dataset's column, of which this may be a part."""

    @property
    def width(self) -> int:
        """The number of values of a row."""
        return int(self.episodes[0].shape[1])

    @property
    def is_named(self) -> bool:
        """Whether its values have names that say more than numbers do; `motor_0` does not."""
        return len({re.sub(r"\d+", "", name) for name in self.names}) > 1 or any("joint" in one for one in self.names)

    @property
    def is_action(self) -> bool:
        """Whether its name says that it is commanded."""
        return any(word in self.key.lower() for word in ("action", "command", "target"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was found."""

    format: Format
    columns: tuple[Column, ...]
    cameras: tuple[str, ...]
    texts: tuple[str, ...]
    """Keys of texts, those that name a language or a task first."""
    fps: float | None
    """The rate that the tree claims; None if it claims none."""
    place: str
    """RLDS: the name of the dataset's folder; HDF5: the pattern of the files."""


def find_contents(raw: RawTree) -> Contents:
    """Read some episodes of the first dataset of a tree.

    Raises:
        RequestError: the tree has none of the known formats, or no episode can be read.
        SourceError: a description cannot be read.
    """
    if roots := find_lerobot(raw):
        return _lerobot(raw, roots[0])
    if infos := raw.glob("*/*/dataset_info.json"):
        return _rlds(raw, str(PurePosixPath(infos[0]).parent))
    for pattern in ("*.hdf5", "*/*.hdf5", "*/*/*.hdf5", "*.h5", "*/*.h5"):
        if files := raw.glob(pattern):
            return _hdf5(raw, pattern, files)
    raise RequestError(
        f"{OPTION} {raw.root}: found no meta/info.json (LeRobot), <name>/<version>/dataset_info.json (RLDS) or *.hdf5; "
        "give the folder of one of these, or write a source by hand (vita_data/sources/README.md)"
    )


def _lerobot(raw: RawTree, root: str) -> Contents:
    dataset = open_lerobot(raw, root)
    features = features_of(dataset.info)
    numeric = [
        key
        for key, feature in features.items()
        if feature["dtype"] not in ("string", "image", "video", "language") and key not in _COUNTERS
    ]
    tables = list(_tables(raw, _spread(dataset.episodes), numeric))
    tables = tables or list(islice(_tables(raw, dataset.episodes, numeric), 1))  # a sample of a larger dataset
    columns = []
    for key in numeric:
        with suppress(EpisodeError):
            width = _width(features[key])
            values = tuple(read_column(table, key, width=width, name=id_) for id_, table in tables)
            if values:
                columns.append(Column(key=key, names=_names(features[key], width), episodes=values))
    return _checked(
        raw,
        Contents(
            format=Format.LEROBOT,
            columns=tuple(columns),
            cameras=tuple(key for key, feature in features.items() if feature["dtype"] in ("image", "video")),
            texts=tuple(key for key, feature in features.items() if feature["dtype"] == "string"),
            fps=dataset.fps,
            place=root,
        ),
    )


def _tables(raw: RawTree, episodes: Sequence[LeRobotEpisode], keys: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    for episode in episodes:
        with suppress(EpisodeError):
            yield episode.id, read_table(raw, episode, keys)


def _spread(episodes: Sequence[LeRobotEpisode]) -> Sequence[LeRobotEpisode]:
    return episodes[:: max(1, len(episodes) // NUM_EPISODES)][:NUM_EPISODES]


def _width(feature: Json) -> int:
    shape = feature.get("shape")
    return int(np.prod(shape)) if isinstance(shape, list) and shape else 1


def _names(feature: Json, width: int) -> tuple[str, ...]:
    found = feature.get("names")
    if isinstance(found, dict):
        found = next(iter(found.values()), None)
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    is_whole = isinstance(found, list) and len(found) == width and all(isinstance(name, str) for name in found)
    return tuple(str(name).lower() for name in found) if is_whole and isinstance(found, list) else ()


def _rlds(raw: RawTree, release: str) -> Contents:
    dataset = open_dataset(raw, release)
    records: list[RldsRecord] = []
    for part in list_parts(raw, dataset):
        if not part.num_bytes:
            continue  # a description may list a hundred thousand files that do not exist
        with suppress(SourceError, OSError):
            records += islice(read_shard(raw, dataset, part.id), NUM_EPISODES - len(records))
        if len(records) == NUM_EPISODES:
            break
    of_steps = {key: spec for key, spec in dataset.features.items() if key.startswith("steps/")}
    columns = []
    for key, spec in of_steps.items():
        if spec.kind is FeatureKind.TENSOR and key not in _FLAGS and 0 < _spec_width(spec) <= _MAX_WIDTH:
            with suppress(EpisodeError):
                values = tuple(_record_values(record, key, spec) for record in records)
                columns.append(Column(key=key, names=(), episodes=values))
    return _checked(
        raw,
        Contents(
            format=Format.RLDS,
            columns=tuple(columns),
            cameras=tuple(
                key for key, spec in of_steps.items() if spec.kind is FeatureKind.IMAGE and spec.shape[-1:] == (3,)
            ),
            texts=_ordered(key for key, spec in dataset.features.items() if spec.kind is FeatureKind.TEXT),
            fps=None,
            place=release.split("/")[0],
        ),
    )


def _spec_width(spec: FeatureSpec) -> int:
    return 0 if None in spec.shape or spec.dtype == "string" else int(np.prod([size or 0 for size in spec.shape]))


def _record_values(record: RldsRecord, key: str, spec: FeatureSpec) -> Float64:
    values = record.floats(key) if spec.dtype.startswith(("float", "bfloat")) else record.ints(key).astype(np.float64)
    return values.reshape(len(values), _spec_width(spec))


def _hdf5(raw: RawTree, pattern: str, files: Sequence[str]) -> Contents:
    found: dict[str, list[Float64]] = {}
    cameras: list[str] = []
    texts: list[str] = []
    num_demos = 0
    for name in files:
        with open_hdf5(raw.local_path(name), name=name) as file:
            for demo in islice(demo_names(file, name=name), NUM_EPISODES - num_demos):
                group, num_demos = find_group(file, f"data/{demo}", name=name), num_demos + 1
                texts += [key for key in group.attrs if isinstance(read_attribute(group, key), str)]
                for key, width in _datasets(group, cameras):
                    with suppress(EpisodeError):
                        found.setdefault(key, []).append(read_floats(group, key, width=width, name=name))
        if num_demos == NUM_EPISODES:
            break
    columns = [
        Column(key=key, names=(), episodes=tuple(values)) for key, values in found.items() if len(values) == num_demos
    ]
    return _checked(
        raw,
        Contents(
            format=Format.HDF5,
            columns=tuple(columns),
            cameras=tuple(dict.fromkeys(cameras)),
            texts=_ordered(dict.fromkeys(texts)),
            fps=None,
            place=pattern,
        ),
    )


def _datasets(group: h5py.Group, cameras: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the numeric datasets of a demonstration with their widths; add its cameras."""
    found: list[tuple[str, h5py.Dataset]] = []
    group.visititems(lambda key, node: found.append((key, node)) if isinstance(node, h5py.Dataset) else None)
    num_rows = max((len(node) for _, node in found if node.ndim), default=0)
    for key, node in found:
        if node.ndim == 4 and node.shape[3] == 3 and node.dtype == np.uint8:
            cameras.append(key)
        elif node.ndim in (1, 2) and len(node) == num_rows and node.dtype.kind in "fiub":
            width = node.shape[1] if node.ndim == 2 else 1
            if width <= _MAX_WIDTH:
                yield key, width


def _ordered(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys, key=lambda key: not any(word in key.lower() for word in TEXT_WORDS)))


def _checked(raw: RawTree, contents: Contents) -> Contents:
    if not any(column.episodes for column in contents.columns) and not contents.cameras:
        raise RequestError(f"{OPTION} {raw.root}: no column or camera of this {contents.format} dataset can be read")
    return contents
