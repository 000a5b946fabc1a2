"""The frame of a chart: mapping of values to the drawing, round ticks, axes with units.

Drawings are as wide as a phone's window, so that their text stays readable there; wider windows enlarge them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.pages.drawing.html import Markup, element, number, text
from vita_data.types import Float64

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 68, 16, 10, 40
_NUM_TICKS = 5
_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    stop: float
    least_step: float = 0.0
    """Minimum distance of ticks: 1 for whole numbers."""

    def __call__(self, value: Float64) -> Float64:
        """Map values [N] to pixels."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def at(self, value: float) -> float:
        """Map one value to pixels."""
        return float(self(np.array(value)))


def horizontal(values: Sequence[Float64]) -> Scale:
    """Scale x to span all finite values."""
    return Scale(*_limits(values, margin=0.0), LEFT, WIDTH - RIGHT)


def vertical(values: Sequence[Float64]) -> Scale:
    """Scale y to span all finite values, with a small margin above and below; larger values are higher."""
    return Scale(*_limits(values, margin=_MARGIN), HEIGHT - BOTTOM, TOP)


def ticks(low: float, high: float, *, least_step: float = 0.0) -> list[float]:
    """Choose about five round values between two limits, in steps of 1, 2 or 5 times a power of ten."""
    step = round_step(max((high - low) / _NUM_TICKS, least_step))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def round_step(least: float) -> float:
    """Choose the smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))


def axes(x: Scale, y: Scale, *, x_label: str, y_label: str) -> Markup:
    """Draw both axes; the labels contain the units."""
    parts = []
    for value in ticks(x.low, x.high, least_step=x.least_step):
        at = px(x.at(value))
        parts += [
            element("line", x1=at, x2=at, y1=px(y.start), y2=px(y.start + 4), stroke="#667"),
            element("text", text(_tick(value)), x=at, y=px(y.start + 19), text_anchor="middle"),
        ]
    for value in ticks(y.low, y.high, least_step=y.least_step):
        at = px(y.at(value))
        parts += [
            element("line", x1=px(x.start), x2=px(x.stop), y1=at, y2=at, stroke="#e3e7ec" if value else "#9aa5b1"),
            element("text", text(_tick(value)), x=px(x.start - 6), y=at, text_anchor="end", dy="0.35em"),
        ]
    frame = f"M{x.start} {y.stop}V{y.start}H{x.stop}"
    turned = f"translate(13 {(y.start + y.stop) / 2:.1f}) rotate(-90)"
    parts += [
        element("path", d=frame, fill="none", stroke="#667"),
        element("text", text(x_label), x=px((x.start + x.stop) / 2), y=px(HEIGHT - 6), text_anchor="middle"),
        element("text", text(y_label), transform=turned, text_anchor="middle"),
    ]
    return element("g", *parts, font_size="12", fill="#333")


def px(value: float) -> str:
    """Format a coordinate of a drawing."""
    return f"{float(value):.1f}"


def _tick(value: float) -> str:
    """Format moderate whole numbers in full: 12,000 instead of 1.2e+04."""
    return number(int(value)) if value.is_integer() and abs(value) < 1e6 else number(value)


def _limits(values: Sequence[Float64], *, margin: float) -> tuple[float, float]:
    finite = np.concatenate([value[np.isfinite(value)] for value in values] or [np.array([])])
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    flat = high - low <= max(1e-6 * largest, 1e-12)
    # A constant needs a margin, or rounding noise would fill the chart.
    room = (largest or 1.0) * 0.1 if flat else (high - low) * margin
    return low - room, high + room
