"""Line charts as inline SVG: axes with units, breaks where a value is missing, shaded ranges, values under the pointer.

Draws what it is given; long series are thinned to their extremes, so that no peak disappears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vita_data.pages.html import Markup, element, join, number, text
from vita_data.types import Float64, Int64

# Eight colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design", 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#a0a000")
_WIDTH, _HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 22, 8, 40
_MAX_POINTS = 600
_MAX_HINTS = 120
_NUM_TICKS = 5


class Stroke(StrEnum):
    """How a line is drawn."""

    SOLID = "none"
    DASHED = "5 3"


class Shade(StrEnum):
    """What a band warns of, as its colour."""

    FAULT = "#f3c9c0"
    ABSENCE = "#d9dee5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: y over ascending x, both [N]; where y is NaN the line is broken."""

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
    """Lines over a common x; the labels carry the units."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: Float64) -> Float64:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def at(self, value: float) -> float:
        return float(self(np.array(value)))


def charts(contents: Sequence[Chart]) -> Markup:
    """Draw charts side by side."""
    return element("div", *(line_chart(content) for content in contents), class_="charts")


def line_chart(chart: Chart) -> Markup:
    """Draw one chart with its title and legend."""
    x_edges = [*(line.x for line in chart.series), np.array([edge for b in chart.bands for edge in (b.start, b.stop)])]
    x = _Scale(*_limits(x_edges, margin=0.0), _LEFT, _WIDTH - _RIGHT)
    y = _Scale(*_limits([line.y for line in chart.series], margin=0.05), _HEIGHT - _BOTTOM, _TOP)
    drawing = element(
        "svg",
        *(_band(band, x) for band in chart.bands),
        _axes(chart, x, y),
        *(_line(line, x, y) for line in chart.series),
        *_hints(chart, x),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{chart.title}: {chart.y_label} over {chart.x_label}",
    )
    return element("figure", element("figcaption", text(chart.title)), drawing, _legend(chart))


def ticks(low: float, high: float) -> list[float]:
    """Choose about five round values between two limits, in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / _NUM_TICKS
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def thin(x: Float64, y: Float64, max_points: int = _MAX_POINTS) -> tuple[Float64, Float64]:
    """Keep the lowest and highest point of each of `max_points / 2` equal groups; [N] -> [up to max_points]."""
    if len(x) <= max_points:
        return x, y
    groups = np.array_split(np.arange(len(x)), max_points // 2)
    keep = np.unique([group[pick(y[group])] for group in groups for pick in (np.argmin, np.argmax)])
    return x[keep], y[keep]


def evenly(num_items: int, num_wanted: int) -> Int64:
    """Choose up to `num_wanted` of `num_items` positions, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, max(num_items - 1, 0), min(num_items, num_wanted)).round().astype(np.int64))


def _limits(values: Sequence[Float64], *, margin: float) -> tuple[float, float]:
    finite = np.concatenate([value[np.isfinite(value)] for value in values] or [np.array([])])
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    flat = high - low <= max(1e-6 * largest, 1e-12)
    # A constant needs room around it, or rounding noise would fill the chart.
    room = (largest or 1.0) * 0.1 if flat else (high - low) * margin
    return low - room, high + room


def _axes(chart: Chart, x: _Scale, y: _Scale) -> Markup:
    parts = []
    for value in ticks(x.low, x.high):
        at = _px(x.at(value))
        parts += [
            element("line", x1=at, x2=at, y1=_px(y.start), y2=_px(y.start + 4), stroke="#667"),
            element("text", text(number(value)), x=at, y=_px(y.start + 16), text_anchor="middle"),
        ]
    for value in ticks(y.low, y.high):
        at = _px(y.at(value))
        parts += [
            element("line", x1=_px(x.start), x2=_px(x.stop), y1=at, y2=at, stroke="#e3e7ec" if value else "#9aa5b1"),
            element("text", text(number(value)), x=_px(x.start - 6), y=at, text_anchor="end", dy="0.35em"),
        ]
    frame = f"M{x.start} {y.stop}V{y.start}H{x.stop}"
    turned = f"translate(12 {(y.start + y.stop) / 2:.1f}) rotate(-90)"
    parts += [
        element("path", d=frame, fill="none", stroke="#667"),
        element("text", text(chart.x_label), x=_px((x.start + x.stop) / 2), y=_px(_HEIGHT - 6), text_anchor="middle"),
        element("text", text(chart.y_label), transform=turned, text_anchor="middle"),
    ]
    return element("g", *parts, font_size="11", fill="#333")


def _line(line: Series, x: _Scale, y: _Scale) -> Markup:
    path = []
    for x_run, y_run in _runs(line):
        points = [f"{_px(px)} {_px(py)}" for px, py in zip(x(x_run), y(y_run), strict=True)]
        # A run of one point is a line of no length: round caps make it a dot.
        path.append("M" + "L".join(points if len(points) > 1 else points * 2))
    return element("path", d="".join(path), fill="none", stroke=_colour(line), stroke_width="1.6",
                   stroke_dasharray=line.stroke, stroke_linecap="round", stroke_linejoin="round")  # fmt: skip


def _runs(line: Series) -> list[tuple[Float64, Float64]]:
    """Split a line at its missing values and thin each run by its share of the points."""
    real = np.isfinite(line.y)
    edges = np.flatnonzero(np.diff(real.astype(np.int8), prepend=0, append=0))
    total = max(int(real.sum()), 1)
    return [
        thin(line.x[start:stop], line.y[start:stop], max(_MAX_POINTS * int(stop - start) // total, 4))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def _band(band: Band, x: _Scale) -> Markup:
    left, right = x.at(band.start), x.at(band.stop)
    return element("rect", element("title", text(band.meaning)), x=_px(left), width=_px(max(right - left, 1.0)),
                   y=_px(_TOP), height=_px(_HEIGHT - _TOP - _BOTTOM), fill=band.shade, fill_opacity="0.6")  # fmt: skip


def _hints(chart: Chart, x: _Scale) -> list[Markup]:
    """Lay invisible strips over the chart; the browser shows a strip's title under a resting pointer."""
    places = np.unique(np.concatenate([line.x for line in chart.series] or [np.array([])]))
    chosen = places[evenly(len(places), _MAX_HINTS)]
    pixels = x(chosen)
    borders = [x.start, *((pixels[1:] + pixels[:-1]) / 2), x.stop]
    return [
        element("rect", element("title", text(_hint(chart, place))), x=_px(left), width=_px(max(right - left, 0.5)),
                y=_px(_TOP), height=_px(_HEIGHT - _TOP - _BOTTOM), fill_opacity="0")
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


def _px(value: float) -> str:
    return f"{float(value):.1f}"
