"""Line charts as inline SVG: axes with units, breaks at missing values, shaded ranges, values under the pointer.

Long series are thinned to their extremes, so that no peak disappears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vita_data.pages.drawing.axes import BOTTOM, HEIGHT, TOP, WIDTH, Scale, axes, horizontal, px, vertical
from vita_data.pages.drawing.html import Markup, element, join, number, side_by_side, text
from vita_data.types import Float64, Int64

# Eight colours that colour-blind readers can distinguish (Okabe and Ito, "Color Universal Design", 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#a0a000")
_MAX_POINTS = 600
_MAX_HINTS = 120


class Stroke(StrEnum):
    """How a line is drawn."""

    SOLID = "none"
    DASHED = "5 3"


class Shade(StrEnum):
    """The kind of a band, shown by its colour."""

    FAULT = "#f3c9c0"
    ABSENCE = "#d9dee5"
    PHASE = "#e4ecf7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: y over ascending x, both [N]; the line is broken where y is NaN."""

    name: str
    x: Float64
    y: Float64
    colour: int
    """Lines of one colour belong together (true and predicted)."""
    stroke: Stroke = Stroke.SOLID


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A shaded range of x and what it means."""

    start: float
    stop: float
    meaning: str
    shade: Shade


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over a common x; the labels contain the units."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()


def charts(contents: Sequence[Chart]) -> Markup:
    """Draw charts side by side."""
    return side_by_side(line_chart(content) for content in contents)


def line_chart(chart: Chart) -> Markup:
    """Draw one chart with its title and legend."""
    x_edges = [*(line.x for line in chart.series), np.array([edge for b in chart.bands for edge in (b.start, b.stop)])]
    x = horizontal(x_edges)
    y = vertical([line.y for line in chart.series])
    drawing = element(
        "svg",
        *(_band(band, x) for band in chart.bands),
        axes(x, y, x_label=chart.x_label, y_label=chart.y_label),
        *(_line(line, x, y) for line in chart.series),
        *_hints(chart, x),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{chart.title}: {chart.y_label} over {chart.x_label}",
    )
    return element("figure", element("figcaption", text(chart.title)), drawing, _legend(chart))


def thin(x: Float64, y: Float64, max_points: int = _MAX_POINTS) -> tuple[Float64, Float64]:
    """Keep the lowest and highest point of each of `max_points / 2` equal groups; [N] -> [up to max_points]."""
    if len(x) <= max_points:
        return x, y
    groups = np.array_split(np.arange(len(x)), max_points // 2)
    keep = np.unique([group[pick(y[group])] for group in groups for pick in (np.argmin, np.argmax)])
    return x[keep], y[keep]


def evenly(num_items: int, num_wanted: int) -> Int64:
    """Choose up to `num_wanted` of `num_items` positions, evenly spaced, including the first and the last."""
    return np.unique(np.linspace(0, max(num_items - 1, 0), min(num_items, num_wanted)).round().astype(np.int64))


def _line(line: Series, x: Scale, y: Scale) -> Markup:
    path = []
    for x_run, y_run in _runs(line):
        points = [f"{px(left)} {px(top)}" for left, top in zip(x(x_run), y(y_run), strict=True)]
        # A run of one point is a line of zero length, which round caps show as a dot.
        path.append("M" + "L".join(points if len(points) > 1 else points * 2))
    return element("path", d="".join(path), fill="none", stroke=_colour(line), stroke_width="1.6",
                   stroke_dasharray=line.stroke, stroke_linecap="round", stroke_linejoin="round")  # fmt: skip


def _runs(line: Series) -> list[tuple[Float64, Float64]]:
    """Split a line at its missing values and thin each run in proportion to its share of the points."""
    real = np.isfinite(line.y)
    edges = np.flatnonzero(np.diff(real.astype(np.int8), prepend=0, append=0))
    total = max(int(real.sum()), 1)
    return [
        thin(line.x[start:stop], line.y[start:stop], max(_MAX_POINTS * int(stop - start) // total, 4))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def _band(band: Band, x: Scale) -> Markup:
    left, right = x.at(band.start), x.at(band.stop)
    return element("rect", element("title", text(band.meaning)), x=px(left), width=px(max(right - left, 1.0)),
                   y=px(TOP), height=px(HEIGHT - TOP - BOTTOM), fill=band.shade, fill_opacity="0.6")  # fmt: skip


def _hints(chart: Chart, x: Scale) -> list[Markup]:
    """Put invisible strips over the chart; the browser shows a strip's title when the pointer rests on it."""
    places = np.unique(np.concatenate([line.x for line in chart.series] or [np.array([])]))
    chosen = places[evenly(len(places), _MAX_HINTS)]
    pixels = x(chosen)
    borders = [x.start, *((pixels[1:] + pixels[:-1]) / 2), x.stop]
    return [
        element("rect", element("title", text(_hint(chart, place))), x=px(left), width=px(max(right - left, 0.5)),
                y=px(TOP), height=px(HEIGHT - TOP - BOTTOM), fill_opacity="0")
        for place, left, right in zip(chosen, borders, borders[1:], strict=False)
    ]  # fmt: skip


def _hint(chart: Chart, place: float) -> str:
    lines = [f"{chart.x_label}: {number(float(place))}"]
    for line in chart.series:
        at = int(np.searchsorted(line.x, place))
        if at < len(line.x) and line.x[at] == place and np.isfinite(line.y[at]):
            lines.append(f"{line.name}: {number(float(line.y[at]))}")
    lines += [band.meaning for band in chart.bands if band.start <= place <= band.stop]
    return "\n".join(lines)


def _legend(chart: Chart) -> Markup:
    samples = []
    for line in chart.series:
        stroke = element("path", d="M0 4H22", stroke=_colour(line), stroke_width="2.5", stroke_dasharray=line.stroke)
        samples.append(element("span", element("svg", stroke, viewBox="0 0 22 8"), text(line.name)))
    for meaning, shade in {band.meaning: band.shade for band in chart.bands}.items():
        block = element("rect", width="22", height="8", fill=shade)
        samples.append(element("span", element("svg", block, viewBox="0 0 22 8"), text(meaning)))
    return element("div", join(samples), class_="legend")


def _colour(line: Series) -> str:
    return _COLOURS[line.colour % len(_COLOURS)]
