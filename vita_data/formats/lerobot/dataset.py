"""The rows of LeRobot episodes: the columns that are needed, of the rows that belong to one episode.

Rows are chosen by the column `episode_index`, never by position alone: lists of merged or edited datasets were seen to
point at wrong rows. What disagrees with the list fails the episode.

Source: huggingface/lerobot, datasets of codebase_version v2.0, v2.1 and v3.0. The source interprets the columns.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vita_data.errors import EpisodeError, raise_machine_fault
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.types import Float64, Int64, RawTree

_EPISODE, _FRAME, _ROW = "episode_index", "frame_index", "index"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpan:
    """Where the rows of an episode are in a parquet file."""

    groups: tuple[int, ...]
    """The row groups to read."""
    start: int
    """The first row within these groups."""
    num_rows: int


def read_table(raw: RawTree, episode: LeRobotEpisode, columns: Collection[str] | None = None) -> pa.Table:
    """Read the rows of one episode.

    Args:
        raw: the raw tree.
        episode: the entry of the list.
        columns: the columns to read, those that exist; all except images if None.

    Raises:
        EpisodeError: the entry is invalid, or the file is missing, damaged, or has other rows than described.
    """
    with open_rows(raw, episode) as (file, span):
        names = file.schema_arrow.names
        wanted = [key for key in names if (key not in episode.images if columns is None else key in columns)]
        return file.read_row_groups(list(span.groups), columns=wanted).select(wanted).slice(span.start, span.num_rows)


@contextmanager
def open_rows(raw: RawTree, episode: LeRobotEpisode) -> Iterator[tuple[pq.ParquetFile, RowSpan]]:
    """Open the table of an episode and find its rows, for a `with` block.

    Raises:
        EpisodeError: as in `read_table`; also for damage that is found by reading inside the block.
    """
    if episode.fault:
        raise EpisodeError(episode.fault)
    name = episode.table
    if not raw.exists(name):
        raise EpisodeError(f"{name}: listed in {_list_of(episode)} but missing; fetch the whole dataset")
    try:
        with raw.open(name) as stored:
            file = pq.ParquetFile(stored)
            yield file, _find_rows(file, episode)
    except (OSError, pa.ArrowException) as error:
        raise_machine_fault(error, name)
        what = unreadable(partial(raw.open, name), name=name, reason="the file is damaged", own={"parquet"})
        raise EpisodeError(f"{name}: cannot be read {what}") from error


def read_column(table: pa.Table, key: str, *, width: int, name: str) -> Float64:
    """Take a numeric column as [T, width]; a column of plain numbers has width 1.

    Raises:
        EpisodeError: the column is missing, not numeric or has another width.
    """
    column = _column(table, key, name)
    kind = column.type
    while _is_list(column.type):
        if column.null_count or len(pc.unique(pc.list_value_length(column))) > 1:
            raise EpisodeError(f"{name}: column {key!r} is {kind} with rows of several lengths, expected [{width}]")
        column = column.flatten()
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise EpisodeError(f"{name}: column {key!r} is {kind}, expected [{width}]")
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64).reshape(table.num_rows, -1)
    if values.shape[1] != width:
        raise EpisodeError(f"{name}: column {key!r} has {values.shape[1]} values a row, expected {width}")
    return values


def read_texts(table: pa.Table, key: str, *, name: str) -> list[str]:
    """Take a column of strings; a missing value is an empty text.

    Raises:
        EpisodeError: the column is missing, or not of strings.
    """
    column = _column(table, key, name)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise EpisodeError(f"{name}: column {key!r} is {column.type}, expected string")
    return [text or "" for text in column.to_pylist()]


def _column(table: pa.Table, key: str, name: str) -> pa.Array:
    if key not in table.column_names:
        raise EpisodeError(f"{name}: column {key!r} not found; the table has {', '.join(table.column_names)}")
    return table[key].combine_chunks()


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _list_of(episode: LeRobotEpisode) -> str:
    return "meta/episodes" if episode.is_packed else "meta/episodes.jsonl"


def _find_rows(file: pq.ParquetFile, episode: LeRobotEpisode) -> RowSpan:
    """Find the rows of an episode by `episode_index`, and check them against the list.

    Raises:
        EpisodeError: the rows are too many, too few, apart, or numbered otherwise than described.
    """
    name, names = episode.table, set(file.schema_arrow.names)
    if episode.is_packed and _EPISODE not in names:
        raise EpisodeError(f"{name}: column {_EPISODE!r} not found; it tells which rows belong to episode {episode.id}")
    groups = _groups(file, episode)
    start, num_rows = 0, sum(file.metadata.row_group(group).num_rows for group in groups)
    if episode.is_packed:
        of = _integers(file, groups, _EPISODE, name)
        rows = np.flatnonzero(of == episode.index)
        start, num_rows = int(rows[0]) if len(rows) else 0, len(rows)
        if num_rows and rows[-1] - rows[0] + 1 != num_rows:
            raise EpisodeError(f"{name}: the rows of episode {episode.index} are not consecutive")
    if num_rows != episode.num_steps:
        of_which = f" of episode {episode.index}" if episode.is_packed else ""
        raise EpisodeError(
            f"{name}: expected {episode.num_steps} rows{of_which} as in {_list_of(episode)}, found {num_rows}"
        )
    span = RowSpan(groups=groups, start=start, num_rows=num_rows)
    _check_numbers(file, episode, span, names)
    return span


def _groups(file: pq.ParquetFile, episode: LeRobotEpisode) -> tuple[int, ...]:
    """List the row groups that may hold rows of an episode, by their statistics where these exist."""
    every = range(file.metadata.num_row_groups)
    if not episode.is_packed:
        return tuple(every)
    column = [file.metadata.schema.column(at).path for at in range(file.metadata.num_columns)].index(_EPISODE)
    found: list[int] = []
    for group in every:
        seen = file.metadata.row_group(group).column(column).statistics
        if seen is None or not seen.has_min_max or seen.min <= episode.index <= seen.max:
            found.append(group)
    return tuple(found)


def _check_numbers(file: pq.ParquetFile, episode: LeRobotEpisode, span: RowSpan, names: Collection[str]) -> None:
    """Compare the columns that number rows with the list."""
    expected = {_EPISODE: np.full(span.num_rows, episode.index), _FRAME: np.arange(span.num_rows)}
    if episode.first_row is not None:
        expected[_ROW] = episode.first_row + np.arange(span.num_rows)
    for key, numbers in expected.items():
        if key not in names:
            continue
        found = _integers(file, span.groups, key, episode.table)[span.start : span.start + span.num_rows]
        if len(wrong := np.flatnonzero(found != numbers)):
            row = int(wrong[0])
            raise EpisodeError(
                f"{episode.table}: row {row} of episode {episode.index} has {key} {found[row]}, expected "
                f"{numbers[row]}; the table and {_list_of(episode)} disagree"
            )


def _integers(file: pq.ParquetFile, groups: Collection[int], key: str, name: str) -> Int64:
    if not groups:
        return np.zeros(0, np.int64)
    table = file.read_row_groups(list(groups), columns=[key])
    return read_column(table, key, width=1, name=name)[:, 0].astype(np.int64)
