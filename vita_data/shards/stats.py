"""Normalization statistics of a built source: computed from its written shards, train split and valid rows only.

Quantiles are exact (linear interpolation) up to 5 million rows; beyond that, they come from a fixed-bin histogram
filled shard by shard in unit order, so that they do not depend on who built which unit. Values are in physical units.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import ManifestError, ShardError
from vita_data.shards.card_fields import SUMS
from vita_data.shards.index import (
    CARD,
    INVALID,
    SourceIndex,
    card_bytes,
    card_sums,
    open_source,
    read_card,
    read_clip,
    source_name,
)
from vita_data.shards.reader import ShardFiles
from vita_data.slots import ACTION_DIM, STATE_DIM, VECTOR_DIMS
from vita_data.storage.files import AnyPath, read_files, write_atomically
from vita_data.types import Clip, Float32, Float64, Json, Split, Track

STATS = "stats.json"
EXACT_ROWS = 5_000_000
_NUM_BINS = 20_000
_HELD_ROWS = 200_000
_NUM_PASSES = 6
"""Sums, quantiles and deviations, of actions and of states."""
_FIGURES = ("mean", "std", "min", "max", "q01", "q99")

Rows = tuple[Float32, NDArray[np.bool_]]
"""Valid rows [T, D] and the mask [D] of their real columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStats:
    """Statistics of each column [D]; NaN with `mask` False if a column has no real row."""

    count: int
    mean: Float64
    std: Float64
    min: Float64
    max: Float64
    q01: Float64
    q99: Float64
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStats:
    """Statistics of a source or an embodiment; None if it lacks the vector."""

    action: ColumnStats | None
    state: ColumnStats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsFile:
    """The content of stats.json."""

    name: str
    source: GroupStats
    embodiment: Mapping[str, GroupStats]

    def as_json(self) -> Json:
        """Return the statistics in the layout of stats.json (null if a column has no real row)."""
        return {
            "source": {self.name: _group_json(self.source)},
            "embodiment": {name: _group_json(group) for name, group in sorted(self.embodiment.items())},
        }


def load_stats(folder: AnyPath) -> StatsFile:
    """Read a built source's statistics and check them against the card's checksum.

    Raises:
        ManifestError: the source has not been built in the folder, or has no statistics.
        ShardError: the file is damaged.
    """
    card = read_card(folder)
    name, repair = source_name(card), f"run `vita-data stats {folder}`"
    try:
        data = read_files([folder / STATS])[0]
    except FileNotFoundError:
        raise ManifestError(f"no statistics of {name!r}: {folder / STATS} is missing; {repair}") from None
    if hashlib.sha256(data).hexdigest() != card_sums(card).get(STATS):
        raise ShardError(f"{folder / STATS}: does not match the card's sha256; {repair}")
    try:
        value = json.loads(data)
        return StatsFile(
            name=name,
            source=_group_from_json(value["source"][name]),
            embodiment={embodiment: _group_from_json(group) for embodiment, group in value["embodiment"].items()},
        )
    except INVALID as error:
        raise ShardError(
            f"{folder / STATS}: expected the statistics of {name!r}, got {error!r:.200}; {repair}"
        ) from error


def write_stats(folder: AnyPath, progress: Progress = SILENT) -> StatsFile:
    """Recompute a built source's statistics, write stats.json and update its checksum in the card.

    Progress counts clips, each as often as it is read.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: a shard is damaged.
    """
    card = read_card(folder)
    stats = compute_stats(open_source(folder, Split.TRAIN), progress)
    data = stats_bytes(stats)
    write_atomically(folder / STATS, data)
    sums = {**card_sums(card), STATS: hashlib.sha256(data).hexdigest()}
    write_atomically(folder / CARD, card_bytes({**card, SUMS: sums}))
    return stats


def stats_bytes(stats: StatsFile) -> bytes:
    """Return the content of stats.json for statistics."""
    return json.dumps(stats.as_json(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def compute_stats(index: SourceIndex, progress: Progress = SILENT) -> StatsFile:
    """Compute statistics per source and per embodiment from the train shards.

    Raises:
        ShardError: a shard is damaged.
    """
    embodiments = sorted(set(index.table.column("embodiment").to_pylist()))
    num_rows = pc.sum(index.table.column("num_steps")).as_py() or 0
    # Every statistic needs a pass; small sources are read only once.
    is_held, num_groups = num_rows <= _HELD_ROWS, 1 if len(embodiments) == 1 else 1 + len(embodiments)
    progress.start(index.table.num_rows * (1 if is_held else num_groups * _NUM_PASSES))
    held = list(_clips(index, progress)) if is_held else None

    def group(wanted: str | None) -> GroupStats:
        def clips() -> Iterator[Clip]:
            found = _clips(index, progress) if held is None else iter(held)
            return (clip for clip in found if wanted in (None, clip.embodiment))

        return GroupStats(action=_columns(clips, action_rows, ACTION_DIM), state=_columns(clips, state_rows, STATE_DIM))

    whole = group(None)
    return StatsFile(
        name=index.source,
        source=whole,
        embodiment={name: whole if len(embodiments) == 1 else group(name) for name in embodiments},
    )


def _clips(index: SourceIndex, progress: Progress) -> Iterator[Clip]:
    files = ShardFiles()
    try:
        for shard, table in zip(index.shards, index.tables, strict=True):
            # Images are not needed: read only the columns for the vectors.
            for row in table.drop_columns(["frames"]).to_pylist():
                yield read_clip(files, shard, row, with_frames=False)
                progress.update(note=shard.name)
    finally:
        files.close()


def action_rows(clip: Clip) -> Rows | None:
    """Return the valid action rows of a clip."""
    if clip.action is None:
        return None
    return clip.action.track.values[clip.action.is_valid], clip.action.track.mask


def state_rows(clip: Clip) -> Rows | None:
    """Return the state rows of a clip; all are valid."""
    return None if clip.state is None else _track_rows(clip.state)


def _track_rows(track: Track) -> Rows:
    return track.values, track.mask


def _columns(
    clips: Callable[[], Iterable[Clip]], rows_of: Callable[[Clip], Rows | None], dim: int
) -> ColumnStats | None:
    def chunks() -> Iterator[Rows]:
        return (rows for clip in clips() if (rows := rows_of(clip)) is not None)

    return column_stats(chunks, dim)


def column_stats(chunks: Callable[[], Iterable[Rows]], dim: int, *, exact_rows: int = EXACT_ROWS) -> ColumnStats | None:
    """Compute each column's statistics over its real rows.

    Args:
        chunks: returns the rows again on each call; masked columns are ignored.
        dim: D.
        exact_rows: above this many rows the quantiles come from a histogram.
    """
    count, real = 0, np.zeros(dim, np.int64)
    total, low, high = np.zeros(dim), np.full(dim, np.inf), np.full(dim, -np.inf)
    for values, mask in chunks():
        count += len(values)
        if len(values) and mask.any():
            real[mask] += len(values)
            total[mask] += values[:, mask].astype(np.float64).sum(axis=0)
            low[mask] = np.minimum(low[mask], values[:, mask].min(axis=0))
            high[mask] = np.maximum(high[mask], values[:, mask].max(axis=0))
    if not real.any():
        return None
    seen = real > 0
    mean = np.divide(total, real, out=np.full(dim, np.nan), where=seen)
    quantiles = _exact_quantiles if count <= exact_rows else _histogram_quantiles
    q01, q99 = quantiles(chunks, real, low, high)
    blank = np.where(seen, 0.0, np.nan)
    return ColumnStats(
        count=count,
        mean=mean,
        std=_std(chunks, mean, real),
        min=np.where(seen, low, np.nan),
        max=np.where(seen, high, np.nan),
        q01=q01 + blank,
        q99=q99 + blank,
        mask=seen,
    )


def _std(chunks: Callable[[], Iterable[Rows]], mean: Float64, real: NDArray[np.int64]) -> Float64:
    squares = np.zeros(len(mean))
    for values, mask in chunks():
        squares[mask] += ((values[:, mask] - mean[mask]) ** 2).sum(axis=0)
    variance: Float64 = np.divide(squares, real, out=np.full(len(mean), np.nan), where=real > 0)
    return np.sqrt(variance)


def _exact_quantiles(
    chunks: Callable[[], Iterable[Rows]], real: NDArray[np.int64], low: Float64, high: Float64
) -> tuple[Float64, Float64]:
    columns: list[list[Float32]] = [[] for _ in real]
    for values, mask in chunks():
        for real_column in np.flatnonzero(mask):
            columns[real_column].append(values[:, real_column])
    quantiles = np.zeros((2, len(real)))
    for column, pieces in enumerate(columns):
        if real[column]:
            quantiles[:, column] = np.quantile(np.concatenate(pieces).astype(np.float64), [0.01, 0.99])
    return quantiles[0], quantiles[1]


def _histogram_quantiles(
    chunks: Callable[[], Iterable[Rows]], real: NDArray[np.int64], low: Float64, high: Float64
) -> tuple[Float64, Float64]:
    span = np.where(real > 0, np.maximum(high - low, 1e-12), 1.0)
    start = np.where(real > 0, low, 0.0)
    counts = np.zeros((len(real), _NUM_BINS), np.int64)
    for values, mask in chunks():
        bins = np.clip(((values - start) / span * _NUM_BINS).astype(np.int64), 0, _NUM_BINS - 1)
        for real_column in np.flatnonzero(mask):
            counts[real_column] += np.bincount(bins[:, real_column], minlength=_NUM_BINS)
    quantiles = np.zeros((2, len(real)))
    edges = np.arange(_NUM_BINS + 1) / _NUM_BINS
    for column in np.flatnonzero(real).tolist():
        share = np.concatenate([[0.0], np.cumsum(counts[column]) / real[column]])
        quantiles[:, column] = start[column] + span[column] * np.interp([0.01, 0.99], share, edges)
    return quantiles[0], quantiles[1]


def _group_json(group: GroupStats) -> Json:
    parts = {"action": group.action, "state": group.state}
    return {name: _columns_json(columns) for name, columns in parts.items() if columns is not None}


def _columns_json(columns: ColumnStats) -> Json:
    figures = {name: [None if np.isnan(x) else float(x) for x in getattr(columns, name)] for name in _FIGURES}
    return {"count": columns.count, **figures, "mask": columns.mask.tolist()}


def _group_from_json(value: Mapping[str, Json]) -> GroupStats:
    def columns(name: str) -> ColumnStats | None:
        if name not in value:
            return None
        part = value[name]
        figures = {key: np.array([np.nan if x is None else float(x) for x in _list(part[key])]) for key in _FIGURES}
        mask = np.array(_list(part["mask"]), bool)
        if {len(figure) for figure in (mask, *figures.values())} != {VECTOR_DIMS[name]}:
            raise ValueError(f"figures of {name} that are not of {VECTOR_DIMS[name]} columns")
        return ColumnStats(count=_int(part["count"]), mask=mask, **figures)

    return GroupStats(action=columns("action"), state=columns("state"))


def _list(value: object) -> list[float | None]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r}")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value
