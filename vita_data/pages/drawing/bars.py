"""Bars as inline SVG: distributions of values, and one value per name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vita_data.pages.drawing.axes import HEIGHT, WIDTH, Scale, axes, horizontal, px, round_step, vertical
from vita_data.pages.drawing.html import Markup, element, number, text
from vita_data.types import Float64, Int64

_COLOUR = "#0072b2"
_MIN_BINS, _MAX_BINS = 6, 30
_ROW, _NAME_WIDTH, _COUNT_WIDTH = 20, 116, 62
_MAX_NAME = 16
_LIMIT, _ROOM = "#d55e00", 1.05
"""The colour of a limit's mark, and how much more than the limit the bars' scale shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values [N] in bins of one round width; the labels contain the units."""

    title: str
    x_label: str
    y_label: str
    values: Float64
    least_width: float = 0.0
    """Minimum bin width; 1 for whole numbers, which are then in the middle of their bins."""
    limits: tuple[float, float] | None = None
    """The axis spans at least these two values."""


def histogram(content: Histogram) -> Markup:
    """Draw one histogram with its title."""
    edges, counts = bins(content.values, content.least_width)
    x = replace(horizontal([edges, np.array(content.limits or ())]), least_step=content.least_width)
    y = replace(
        vertical([counts.astype(np.float64)]), low=0.0, high=max(1.05 * counts.max(initial=0), 1.0), least_step=1.0
    )
    drawing = element(
        "svg",
        axes(x, y, x_label=content.x_label, y_label=content.y_label),
        *(_bar(content, edges[at : at + 2], int(count), x, y) for at, count in enumerate(counts) if count),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{content.title}: {content.y_label} by {content.x_label}",
    )
    return element("figure", element("figcaption", text(content.title)), drawing)


def bins(values: Float64, least_width: float) -> tuple[Float64, Int64]:
    """Count values [N] in at most 31 bins of a round width: edges [M + 1], counts [M]; no values give no bins."""
    if not values.size:
        return np.zeros(1), np.zeros(0, np.int64)
    low, high = float(values.min()), float(values.max())
    num_wanted = min(max(2 * math.sqrt(values.size), _MIN_BINS), _MAX_BINS)
    # A constant gets one bin around it: as narrow as allowed, or a tenth of the value wide (of 0: one).
    constant = 0.0 if high > low or least_width else abs(high) / 10 or 1.0
    width = round_step(max((high - low) / num_wanted, least_width, constant))
    shift = 0.5 if least_width == width == 1 else 0.0
    first, last = np.floor(low / width + shift), np.floor(high / width + shift)
    edges = (np.arange(first, last + 2) - shift) * width
    places = np.clip(np.floor(values / width + shift) - first, 0, len(edges) - 2).astype(np.int64)
    return edges, np.bincount(places, minlength=len(edges) - 1)


def bar_list(title: str, values: Mapping[str, float], *, limit: float | None = None, limit_words: str = "") -> Markup:
    """Draw one bar per name, in the given order, with its value, such as a count.

    A limit is marked by a line across all bars, with its words below; its bars are compared with it, not with the
    longest.
    """
    most = max([*values.values(), *(() if limit is None else (limit * _ROOM,))], default=0) or 1
    length = Scale(0.0, float(most), _NAME_WIDTH, WIDTH - _COUNT_WIDTH)
    rows = [
        _bar_row(name, value, place, length, beside_bar=limit is None)
        for place, (name, value) in enumerate(values.items())
    ]
    mark = [] if limit is None else [_mark(length.at(limit), len(rows), limit_words)]
    num_rows = max(len(rows), 1) + len(mark)
    drawing = element(
        "svg", element("g", *rows, *mark, font_size="12", fill="#333"), viewBox=f"0 0 {WIDTH} {_ROW * num_rows}",
        role="img", aria_label=title,
    )  # fmt: skip
    return element("figure", element("figcaption", text(title)), drawing)


def _mark(at: float, num_rows: int, words: str) -> Markup:
    """Draw a limit's line; its words end at the right edge at the latest."""
    end = num_rows * _ROW
    return element(
        "g",
        element("line", x1=px(at), x2=px(at), y1=px(0), y2=px(end + 3), stroke=_LIMIT, stroke_width="2"),
        element("text", text(words), x=px(min(at + 40, WIDTH - 2)), y=px(end + _ROW / 2 + 2), dy="0.35em",
                text_anchor="end"),
    )  # fmt: skip


def _bar_row(name: str, value: float, place: int, length: Scale, *, beside_bar: bool) -> Markup:
    """Draw a bar; its value stands at its end, or at the right edge, where no line crosses it."""
    top = place * _ROW
    shown = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    middle, end = px(top + _ROW / 2), length.at(value)
    return element(
        "g",
        element("title", text(f"{name}: {number(value)}")),
        element("text", text(shown), x=px(_NAME_WIDTH - 6), y=middle, dy="0.35em", text_anchor="end"),
        element("rect", x=px(_NAME_WIDTH), y=px(top + 3), width=px(max(end - _NAME_WIDTH, 1.0)), height=px(_ROW - 6),
                fill=_COLOUR),
        element("text", text(number(value)), x=px((end if beside_bar else length.stop) + 5), y=middle, dy="0.35em"),
    )  # fmt: skip


def _bar(content: Histogram, edges: Float64, count: int, x: Scale, y: Scale) -> Markup:
    (left, right), top = x(edges), y.at(count)
    low, high = (float(edge) for edge in edges)
    span = number(int(low + 0.5)) if content.least_width == high - low == 1 else f"{number(low)} to {number(high)}"
    hint = f"{content.x_label}: {span}\n{content.y_label}: {number(count)}"
    # A bar of one clip among a million must still be visible.
    height = max(y.start - top, 1.0)
    return element("rect", element("title", text(hint)), x=px(left), width=px(max(right - left - 1.0, 0.5)),
                   y=px(y.start - height), height=px(height), fill=_COLOUR)  # fmt: skip
