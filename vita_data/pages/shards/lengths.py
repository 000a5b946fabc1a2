"""Rates and lengths of a source's clips as tables and histograms."""

from collections.abc import Sequence

import numpy as np

from vita_data.pages.drawing.bars import Histogram, histogram
from vita_data.pages.drawing.html import Cell, Markup, Section, Table, join, paragraph, side_by_side, table
from vita_data.pages.shards.card import Card
from vita_data.pages.shards.contents import Contents
from vita_data.types import Float64

_UNITS = ((3600.0, "h"), (60.0, "min"))
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_SPREAD = ("shortest", "5%", "median", "95%", "longest")
_MAX_RATES = 8


def lengths_section(card: Card, contents: Contents) -> Section:
    """Show how much of each split and modality was stored, at which rates, and the lengths of the clips."""
    drawn = side_by_side(
        histogram(content)
        for content in (
            Histogram(title="Clip lengths (s)", x_label="length (s)", y_label="clips", values=contents.length_s),
            Histogram(title="Clip lengths (steps)", x_label="length (steps)", y_label="clips", least_width=1.0,
                      values=contents.num_steps.astype(np.float64)),
        )
    )  # fmt: skip
    return Section(
        title="Rates and lengths",
        explanation="Over all clips of both splits. A clip's length in steps is its number of stored steps, its length "
        "in seconds is that number divided by its rate; removed steps do not count.",
        body=join([_held(card), _spread(contents), drawn]) if contents.num_clips else paragraph("No clip was stored."),
    )  # fmt: skip


def lengths_table(every: Sequence[Contents]) -> Markup:
    """Show the rates and lengths of several sources, one row each."""
    header = ("source", "clips", "together", "rate (Hz)", *(f"{name} (s)" for name in _SPREAD), "median (steps)")
    rows: list[tuple[Cell, ...]] = [
        (one.source, one.num_clips, duration(one), rates(one), *_quantiles(one.length_s),
         None if not one.num_clips else float(np.median(one.num_steps)))
        for one in every
    ]  # fmt: skip
    return table(Table(header=header, rows=tuple(rows)))


def lengths_histograms(every: Sequence[Contents]) -> Markup:
    """Draw the clip lengths of several sources, one histogram each."""
    return side_by_side(
        histogram(Histogram(title=one.source, x_label="length (s)", y_label="clips", values=one.length_s))
        for one in every
    )


def duration(contents: Contents) -> str:
    """Return the total duration of the clips, in a suitable unit."""
    total_s = float(contents.length_s.sum())
    unit_s, unit = next((pair for pair in _UNITS if total_s >= pair[0]), (1.0, "s"))
    return f"{total_s / unit_s:.3g} {unit}"


def rates(contents: Contents) -> str:
    """Format the rates of the clips; a source with many rates gets their range."""
    values, counts = np.unique(contents.hz.round(2), return_counts=True)
    if len(values) > _MAX_RATES:
        return f"{values[0]:.5g} to {values[-1]:.5g} ({len(values)} different)"
    if len(values) == 1:
        return f"{values[0]:.5g}"
    return ", ".join(f"{value:.5g} ({count:,} clips)" for value, count in zip(values, counts.tolist(), strict=True))


def _held(card: Card) -> Markup:
    header = ("split", "modality", "episodes", "clips", "steps", "images")
    rows: list[tuple[Cell, ...]] = [
        (held.split, held.modality, held.num_episodes, held.num_clips, held.num_steps, held.num_frames)
        for held in card.holdings
    ]
    return table(Table(header=header, rows=tuple(rows)))


def _spread(contents: Contents) -> Markup:
    both = (("length (s)", contents.length_s), ("length (steps)", contents.num_steps.astype(np.float64)))
    rows = tuple((name, *_quantiles(values), float(values.mean())) for name, values in both)
    words = f"Rate: {rates(contents)} Hz. Total duration of all clips: {duration(contents)}."
    return join([paragraph(words), table(Table(header=("clip", *_SPREAD, "mean"), rows=rows))])


def _quantiles(values: Float64) -> tuple[Cell, ...]:
    if not values.size:
        return tuple(None for _ in _QUANTILES)
    return tuple(float(value) for value in np.quantile(values, _QUANTILES))
