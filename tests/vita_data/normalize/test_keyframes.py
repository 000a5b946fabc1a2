"""Keyframes follow time: nearest row to each second, a missing one where rows were dropped."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vita_data.normalize.episode import clip_spans
from vita_data.normalize.keyframes import keyframe_rows, native_stride


def brute_force(steps: np.ndarray, hz: float) -> tuple[int, ...]:
    rows = []
    times = (steps - steps[0]) / hz
    for second in range(int(times[-1]) + 2):
        distance = np.abs(times - second)
        row = int(np.argmin(distance))
        if distance[row] * hz <= 0.5 + 1e-9:
            rows.append(row)
    return tuple(rows)


RATES = st.sampled_from([1.0, 3, 5, 10, 12, 15, 20, 30, 29.97])


@given(st.integers(0, 50), st.lists(st.integers(1, 9), max_size=200), RATES)
def test_rows_are_those_of_a_search_over_all(first: int, gaps: list[int], hz: float) -> None:
    steps = first + np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)

    assert keyframe_rows(steps, hz) == brute_force(steps, hz)


def test_full_rate_rows_give_every_stride_th() -> None:
    assert keyframe_rows(np.arange(47), 12.0) == (0, 12, 24, 36)


def test_a_second_without_a_row_within_half_a_step_has_no_keyframe() -> None:
    steps = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])

    assert keyframe_rows(steps, 5.0) == (0, 9)


def test_a_tie_goes_to_the_earlier_row() -> None:
    assert keyframe_rows(np.array([0, 1, 2, 3]), 1.5) == (0, 1, 3)


def test_stride_is_at_least_one() -> None:
    assert [native_stride(hz) for hz in (0.3, 3, 29.97)] == [1, 3, 30]


def test_clips_are_at_most_600_s_and_start_600_s_apart() -> None:
    assert clip_spans(np.arange(7), 0.005) == [(0, 3), (3, 6), (6, 7)]
    assert clip_spans(np.array([5, 6, 7]), 30.0) == [(0, 3)]
    assert clip_spans(np.array([7, 9, 606]), 1.0) == [(0, 3)]
    assert clip_spans(np.array([7, 9, 607]), 1.0) == [(0, 2), (2, 3)]
