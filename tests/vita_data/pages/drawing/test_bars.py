"""Histograms and bar lists: every value is counted once, in the bin where it lies, and can be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vita_data.pages.page_parser import PageParser
from vita_data.pages.drawing.axes import WIDTH
from vita_data.pages.drawing.bars import Histogram, bar_list, bins, histogram

VALUES = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=200)


def drawn(values: list[float], *, least_width: float = 0.0) -> PageParser:
    content = Histogram(
        title="T", x_label="length (s)", y_label="clips", values=np.array(values), least_width=least_width
    )
    return PageParser(histogram(content))


@given(values=VALUES, least_width=st.sampled_from([0.0, 1.0]))
def test_every_value_is_counted_in_its_bin(values: list[float], least_width: float) -> None:
    array = np.array(values)
    edges, counts = bins(array, least_width)
    assert counts.sum() == len(values)
    assert len(edges) == len(counts) + 1 <= 33
    slack = 1e-6 * (np.abs(array).max() + 1e-3)
    assert edges[0] <= array.min() + slack
    assert array.max() <= edges[-1] + slack
    inner = np.diff(edges)
    np.testing.assert_allclose(inner, inner[0], rtol=1e-6)


def test_whole_numbers_lie_in_the_middle_of_their_bins() -> None:
    edges, counts = bins(np.array([3.0, 3.0, 5.0]), 1.0)
    np.testing.assert_array_equal(edges, [2.5, 3.5, 4.5, 5.5])
    np.testing.assert_array_equal(counts, [2, 0, 1])


def test_bars_are_as_tall_as_their_counts_and_say_them() -> None:
    parsed = drawn([2.0, 2.0, 2.0, 2.0, 7.0], least_width=1.0)
    tall, short = (float(rect["height"] or 0) for rect in parsed.named("rect"))
    assert tall / short == pytest.approx(4, rel=0.01)
    assert "length (s): 2\nclips: 4" in parsed.texts
    assert parsed.faults == []


def test_a_single_value_among_many_is_still_drawn() -> None:
    heights = [float(rect["height"] or 0) for rect in drawn([1.0] * 100_000 + [9.0]).named("rect")]
    assert min(heights) >= 1


@pytest.mark.parametrize("values", [[], [5.0], [0.0], [0.1, 0.1]])
def test_few_or_equal_values_are_drawn_without_a_fault(values: list[float]) -> None:
    assert drawn(values).faults == []
    assert len(drawn(values).named("rect")) == min(len(values), 1)


def test_a_share_is_drawn_over_all_that_it_can_be() -> None:
    content = Histogram(
        title="T", x_label="share", y_label="clips", values=np.zeros(9), least_width=0.05, limits=(0.0, 1.0)
    )
    parsed = PageParser(histogram(content))
    (bar,) = parsed.named("rect")
    assert float(bar["width"] or 0) < WIDTH / 20
    assert {"0", "0.2", "1"} <= set(parsed.texts)


def test_bar_list_keeps_order_and_proportion_and_cuts_long_names() -> None:
    parsed = PageParser(bar_list("words", {"the <b>": 8, "w" * 40: 2}))
    assert parsed.faults == []
    first, second = (float(rect["width"] or 0) for rect in parsed.named("rect"))
    assert first / second == pytest.approx(4, rel=0.01)
    assert [text for text in parsed.texts if text in {"the <b>", "w" * 15 + "…"}] == ["the <b>", "w" * 15 + "…"]
    assert f"{'w' * 40}: 2" in parsed.texts
    assert all(float(text["x"] or 0) < WIDTH - 30 for text in parsed.named("text"))


@pytest.mark.parametrize("value", [0.2579, 1.011, 4.0])
def test_a_bar_is_compared_with_the_limit_even_if_it_is_the_only_one(value: float) -> None:
    parsed = PageParser(bar_list("error", {"arm": value}, limit=1.0, limit_words="1: mean action"))
    assert parsed.faults == []
    (bar,), (mark,) = parsed.named("rect"), parsed.named("line")
    start, width, at = (float(one or 0) for one in (bar["x"], bar["width"], mark["x1"]))
    assert width / (at - start) == pytest.approx(value, rel=0.01)
    assert start < at < WIDTH
    assert "1: mean action" in parsed.texts
