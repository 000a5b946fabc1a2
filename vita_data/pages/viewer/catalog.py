"""The list of the viewer: all clips and all raw episodes without a clip, numbered over one or several sources.

Opens each source's index once; a chunk of the list is made when it is asked for.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import pyarrow as pa

from vita_data.builder.drops import changed_by
from vita_data.pages.shards.card import Card, load_card, reason_meaning
from vita_data.pages.shards.dropped import read_lost
from vita_data.shards.clip_fields import DEPTH
from vita_data.shards.index import SourceIndex, open_source
from vita_data.storage.files import AnyPath
from vita_data.types import Json, Split

CHUNK = 4000
"""Rows in a piece of the list."""
_COLUMNS = ("key", "episode", "instruction", "hz", "num_steps", "cameras")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSource:
    """What the page says about a source as a whole; clips and lost episodes are numbered from `first_...` on."""

    name: str
    title: str
    licence: str
    redistributable: bool
    limit: int | None
    first_clip: int
    num_clips: int
    first_lost: int
    num_lost: int
    drops: Mapping[str, int]
    kept_by: Mapping[str, str]
    """By drop code, the settings that a build could keep such episodes with."""
    num_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipChunk:
    """Rows of the list of clips by column; `source` and `split` are one for the chunk."""

    first: int
    source: int
    split: Split
    keys: Sequence[str]
    episodes: Sequence[str]
    instructions: Sequence[str]
    seconds: Sequence[float]
    num_cameras: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostChunk:
    """Rows of the list of raw episodes that were not stored, by column."""

    first: int
    source: int
    episodes: Sequence[str]
    parts: Sequence[str]
    outcomes: Sequence[str]
    reasons: Sequence[str]
    details: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a clip is stored: its shard and its row of the shard's index."""

    shard: AnyPath
    row: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Consecutive numbers of one table that become one chunk."""

    source: int
    first: int
    """Number of the first row over all sources."""
    start: int
    """The same row inside the table."""
    num_rows: int
    split: Split = Split.TRAIN


class Catalog:
    """The clips and lost episodes of built sources by number: sources in the given order, train before val."""

    def __init__(self, folders: Sequence[AnyPath]) -> None:
        self.folders = tuple(folders)
        self.cards: tuple[Card, ...] = tuple(load_card(folder) for folder in folders)
        self._indexes: tuple[tuple[SourceIndex, ...], ...] = tuple(
            tuple(open_source(folder, split) for split in Split) for folder in folders
        )
        self._lost = tuple(read_lost(folder) for folder in folders)

    @cached_property
    def sources(self) -> tuple[ListedSource, ...]:
        """The sources with their ranges of numbers."""
        counts = [sum(index.table.num_rows for index in indexes) for indexes in self._indexes]
        first_clips = list(accumulate(counts, initial=0))
        first_lost = list(accumulate((rows.num_rows for rows in self._lost), initial=0))
        return tuple(
            ListedSource(
                name=card.source, title=card.title, licence=card.licence, redistributable=card.redistributable,
                limit=card.limit, first_clip=first_clips[at], num_clips=counts[at], first_lost=first_lost[at],
                num_lost=self._lost[at].num_rows, drops=dict(card.drops),
                kept_by={code: keys for code in card.drops if (keys := changed_by(code, card.settings))},
                num_failed=card.outcomes.get("failed", 0),
            )
            for at, card in enumerate(self.cards)
        )  # fmt: skip

    @property
    def num_clips(self) -> int:
        """The number of clips."""
        return sum(source.num_clips for source in self.sources)

    @property
    def meanings(self) -> Mapping[str, str]:
        """The meaning of each reason for which an episode was dropped."""
        return {code: reason_meaning(code) for card in self.cards for code in card.drops}

    @cached_property
    def clip_runs(self) -> tuple[_Run, ...]:
        """What each chunk of the list of clips holds."""
        tables = [
            (source, index.split, index.table)
            for source, indexes in enumerate(self._indexes)
            for index in indexes
        ]  # fmt: skip
        return _runs(tables)

    @cached_property
    def lost_runs(self) -> tuple[_Run, ...]:
        """What each chunk of the list of lost episodes holds."""
        return _runs([(source, Split.TRAIN, rows) for source, rows in enumerate(self._lost)])

    def clip_chunk(self, number: int) -> ClipChunk:
        """Make a piece of the list of clips."""
        run = self.clip_runs[number]
        table = self._index(run).table.slice(run.start, run.num_rows).select(_COLUMNS)
        columns = table.to_pydict()
        return ClipChunk(
            first=run.first, source=run.source, split=run.split, keys=columns["key"], episodes=columns["episode"],
            instructions=[text or "" for text in columns["instruction"]],
            seconds=[round(n / hz, 3) for n, hz in zip(columns["num_steps"], columns["hz"], strict=True)],
            num_cameras=[sum(not name.startswith(DEPTH) for name in names or ()) for names in columns["cameras"]],
        )  # fmt: skip

    def lost_chunk(self, number: int) -> LostChunk:
        """Make a piece of the list of lost episodes."""
        run = self.lost_runs[number]
        columns = self._lost[run.source].slice(run.start, run.num_rows).to_pydict()
        return LostChunk(
            first=run.first, source=run.source, episodes=columns["id"], parts=columns["part"],
            outcomes=columns["outcome"], reasons=[text or "" for text in columns["reason"]],
            details=[text or "" for text in columns["detail"]],
        )  # fmt: skip

    def place(self, number: int) -> Place:
        """Find a clip by its number.

        Raises:
            IndexError: there are fewer clips.
        """
        run = _run_of(self.clip_runs, number)
        shard, row = self._index(run).place(run.start + number - run.first)
        return Place(shard=shard, row=row)

    def lost(self, number: int) -> tuple[int, Json]:
        """Find a lost episode by its number: its source's number and its row.

        Raises:
            IndexError: there are fewer.
        """
        run = _run_of(self.lost_runs, number)
        return run.source, self._lost[run.source].slice(run.start + number - run.first, 1).to_pylist()[0]

    def _index(self, run: _Run) -> SourceIndex:
        return next(index for index in self._indexes[run.source] if index.split is run.split)


def _runs(tables: Sequence[tuple[int, Split, pa.Table]]) -> tuple[_Run, ...]:
    found: list[_Run] = []
    first = 0
    for source, split, table in tables:
        for start in range(0, table.num_rows, CHUNK):
            num_rows = min(CHUNK, table.num_rows - start)
            found.append(_Run(source=source, split=split, first=first + start, start=start, num_rows=num_rows))
        first += table.num_rows
    return tuple(found)


def _run_of(runs: Sequence[_Run], number: int) -> _Run:
    at = bisect_right([run.first for run in runs], number) - 1
    if at < 0 or number >= runs[at].first + runs[at].num_rows:
        raise IndexError(f"expected a number below {runs[-1].first + runs[-1].num_rows if runs else 0}, got {number}")
    return runs[at]
