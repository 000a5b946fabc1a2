"""Charts: where lines break, what thinning keeps, which ticks are chosen, what the pointer shows."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vita_data.pages.page_parser import PageParser
from vita_data.pages.drawing.axes import HEIGHT, WIDTH, ticks
from vita_data.pages.drawing.chart import Band, Chart, Series, Shade, Stroke, evenly, line_chart, thin


def chart(x: list[float], y: list[float], *, bands: tuple[Band, ...] = (), stroke: Stroke = Stroke.SOLID) -> PageParser:
    line = Series(name="a <b>", x=np.array(x), y=np.array(y), colour=0, stroke=stroke)
    content = Chart(title="T", x_label="time (s)", y_label="m", series=(line,), bands=bands)
    return PageParser(line_chart(content))


def curve(parsed: PageParser) -> str:
    found = [p["d"] for p in parsed.named("path") if p.get("stroke-width") == "1.6"]
    assert found[0] is not None
    return found[0]


def test_line_breaks_where_a_value_is_missing() -> None:
    path = curve(chart([0, 1, 2, 3, 4, 5], [0, 1, np.nan, 1, np.nan, 0]))
    runs = [run.split("L") for run in path.split("M")[1:]]
    assert [len(run) for run in runs] == [2, 1 + 1, 1 + 1]
    assert runs[1][0] == runs[1][1], "a single point is a dot: a line of no length"


def test_points_lie_inside_the_frame_and_in_proportion() -> None:
    points = [tuple(map(float, point.split())) for point in curve(chart([0, 1, 4], [0, 5, 10])).strip("M").split("L")]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=1e-3)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.5, abs=1e-3)
    assert y0 > y2, "larger values are higher"
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in points)


def test_pointer_shows_the_value_and_the_meaning_of_a_band() -> None:
    band = Band(start=0.9, stop=1.1, meaning="left out", shade=Shade.FAULT)
    parsed = chart([0, 1, 2], [0.5, 0.25, 0.125], bands=(band,))
    assert [r["fill"] for r in parsed.named("rect") if r.get("fill-opacity") == "0.6"] == [Shade.FAULT]
    assert "time (s): 1\na <b>: 0.25\nleft out" in parsed.texts
    assert "time (s): 2\na <b>: 0.125" in parsed.texts


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [3.0, 3.0], [0.0, 0.0], [1e-12, -1e-12], [1e9, 1e9 + 1]])
def test_flat_or_empty_series_are_drawn_without_a_fault(values: list[float]) -> None:
    parsed = chart([float(i) for i in range(len(values))], values)
    assert parsed.faults == []
    numbers = [float(n) for d in parsed.named("path") for n in re.findall(r"-?[\d.]+", d["d"] or "")]
    assert np.isfinite(numbers).all()


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_ticks_are_few_inside_the_limits_and_round(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 7
    slack = 1e-6 * width + 1e-9 * abs(low)
    assert low - slack <= found[0]
    assert found[-1] <= low + width + slack


def test_thinning_keeps_every_peak() -> None:
    y = np.zeros(100_000)
    y[[12_345, 77_777]] = [9.0, -9.0]
    x, kept = thin(np.arange(100_000.0), y)
    assert len(kept) <= 600
    assert {(12_345.0, 9.0), (77_777.0, -9.0)} <= set(zip(x.tolist(), kept.tolist(), strict=True))
    assert np.all(np.diff(x) > 0)


def test_dashed_and_solid_lines_differ() -> None:
    dashes = [chart([0, 1], [0, 1], stroke=stroke).named("path")[1]["stroke-dasharray"] for stroke in Stroke]
    assert len(set(dashes)) == len(Stroke)


@given(num_items=st.integers(0, 500), num_wanted=st.integers(2, 40))
def test_evenly_takes_the_first_the_last_and_equal_distances(num_items: int, num_wanted: int) -> None:
    chosen = evenly(num_items, num_wanted)
    assert len(chosen) == min(num_items, num_wanted)
    if num_items > 1:
        assert (chosen[0], chosen[-1]) == (0, num_items - 1)
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1
