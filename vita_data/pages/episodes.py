"""The page of `vita-data episodes --html`: the episodes that were asked for, with pictures and measures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from vita_data.curation.quality import COPIES, MEASURES
from vita_data.errors import ShardError
from vita_data.pages.drawing.bars import Histogram, histogram
from vita_data.pages.drawing.html import (
    Cell,
    Markup,
    Picture,
    Section,
    Table,
    contact_sheet,
    element,
    join,
    page,
    paragraph,
    side_by_side,
    table,
    text,
)
from vita_data.pages.shards.card import licence_warnings, load_card, reason_meaning
from vita_data.pages.viewer.catalog import Place
from vita_data.pages.viewer.clip import thumbnail
from vita_data.shards.index import open_source, read_card, source_name
from vita_data.shards.reader import ShardFiles
from vita_data.storage.files import AnyPath
from vita_data.types import EpisodeOutcome, Float64, Split

MAX_ROWS, _MAX_PICTURES = 500, 120
_SHOWN = ("id", "source", "outcome", "reason", "detail", "text", "split", "suite", "length_s", "num_steps")
_HISTOGRAMS = {
    "length_s": "length (s)",
    "speed_m_s": "mean speed of the end effector (m/s)",
    "jerk_m_s3": "mean jerk (m/s³)",
    "joint_speed_rad_s": "mean speed of the fastest joint (rad/s)",
    "idle_share": "share of idle steps",
    "static_share": "share of images equal to the one before",
    "black_share": "share of black images",
}
# Shares are drawn over all that they can be, in steps of this width.
_SHARE_STEP = 0.05


def episodes_page(found: pl.DataFrame, folders: Sequence[AnyPath], *, num_all: int, asked: str) -> str:
    """Return the page of listed episodes.

    Args:
        found: rows of the episode table, with or without measures.
        folders: the built sources that they are of.
        num_all: how many episodes the sources have.
        asked: the condition in words; empty if all were asked for.

    Raises:
        ShardError: an image is damaged.
    """
    introduction = f"{found.height:,} of {num_all:,} raw episodes"
    stored = found.filter(pl.col("clip") != "")
    sections = [
        Section(
            title="Pictures",
            explanation=f"The middle image of the first {_MAX_PICTURES} stored episodes, in the order of the list.",
            body=contact_sheet(_pictures(stored.head(_MAX_PICTURES), folders)),
        ),
        Section(
            title="Counts",
            explanation="By source and outcome, the most frequent reasons of a drop first.",
            body=_counts(found),
        ),
        Section(
            title="Measures",
            explanation="How the values of the stored episodes are spread.",
            body=_histograms(stored),
        ),
        Section(
            title="Episodes",
            explanation=f"The first {MAX_ROWS} rows; --csv and --json write all, with more columns.",
            body=_rows(found.head(MAX_ROWS)),
        ),
    ]
    return page(
        "Episodes",
        f"{introduction}, where {asked}." if asked else f"{introduction}.",
        sections,
        warnings=licence_warnings(tuple(load_card(folder) for folder in folders)),
    )


def _counts(found: pl.DataFrame) -> Markup:
    counts = Counter(found.select("source", "outcome", "reason").iter_rows())
    rows: list[tuple[Cell, ...]] = [
        (source, outcome, reason, reason_meaning(reason) if outcome == EpisodeOutcome.DROPPED else "", count)
        for (source, outcome, reason), count in sorted(counts.items(), key=_by_outcome)
    ]
    return table(Table(header=("source", "outcome", "reason", "meaning", "episodes"), rows=tuple(rows)))


def _by_outcome(counted: tuple[tuple[str, str, str], int]) -> tuple[str, str, int, str]:
    (source, outcome, reason), count = counted
    return source, outcome, -count, reason


def _histograms(stored: pl.DataFrame) -> Markup:
    drawn = [
        histogram(_spread(name, label, values))
        for name, label in _HISTOGRAMS.items()
        if name in stored.columns and (values := _values(stored, name)).size
    ]
    return side_by_side(drawn) if drawn else paragraph("No listed episode is stored.")


def _spread(name: str, label: str, values: Float64) -> Histogram:
    spread = Histogram(title=name, x_label=label, y_label="episodes", values=values)
    return replace(spread, least_width=_SHARE_STEP, limits=(0.0, 1.0)) if name.endswith("_share") else spread


def _values(stored: pl.DataFrame, name: str) -> Float64:
    return stored[name].drop_nulls().to_numpy().astype(np.float64)


def _rows(found: pl.DataFrame) -> Markup:
    """Draw what the episodes are and, below, what was measured of the stored ones: one table would be too wide."""
    if found.is_empty():
        return paragraph("No episode is listed.")
    measures = [name for name in (*MEASURES, *COPIES.values()) if name not in COPIES]
    measured = [name for name in measures if _has_values(found, name)]
    parts = [_listed(found, [name for name in _SHOWN if _has_values(found, name)])]
    if measured:
        parts += [element("h3", text("Their measures")), _listed(found.filter(pl.col("clip") != ""), ["id", *measured])]
    return join(parts)


def _has_values(found: pl.DataFrame, name: str) -> bool:
    return name in found.columns and any(found[name].to_list())


def _listed(found: pl.DataFrame, names: Sequence[str]) -> Markup:
    rows = tuple(tuple(_cell(value) for value in row) for row in found.select(names).iter_rows())
    return table(Table(header=tuple(names), rows=rows))


def _cell(value: object) -> Cell:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _pictures(stored: pl.DataFrame, folders: Sequence[AnyPath]) -> Iterator[Picture]:
    """Yield the middle image of each episode that has one."""
    places, files = _places(stored, folders), ShardFiles()
    for row in stored.iter_rows(named=True):
        if row["clip"] not in places:
            raise ShardError(
                f"source {row['source']}: episode {row['id']!r} has clip {row['clip']!r}, which is in no index; run "
                "`vita-data verify` on its folder"
            )
        try:
            jpeg = thumbnail(files, places[row["clip"]])
        except IndexError:
            continue
        yield Picture(jpeg=jpeg, caption=f"{row['text'] or row['id']} ({row['length_s']:.1f} s)")
    files.close()


def _places(stored: pl.DataFrame, folders: Sequence[AnyPath]) -> Mapping[str, Place]:
    wanted = set(stored["clip"].to_list())
    sources = set(stored["source"].to_list())
    found: dict[str, Place] = {}
    for folder in (one for one in folders if source_name(read_card(one)) in sources):
        for index in (open_source(folder, split) for split in Split):
            for number, key in enumerate(index.table.column("key").to_pylist()):
                if key in wanted:
                    shard, row = index.place(number)
                    found[key] = Place(shard=shard, row=row)
    return found
