"""Rates and steps of video frames: regular files keep the mean over all frames, and a pause is a gap in the steps."""

import numpy as np
import pytest

from vita_data.formats.video.rate import number_frames
from vita_data.types import Float64


def regular(num_frames: int, hz: float) -> Float64:
    return np.arange(num_frames) / hz


def in_ms(time_s: Float64) -> Float64:
    """Round as Matroska does."""
    return np.round(time_s * 1000) / 1000


RNG = np.random.default_rng(3)
PLAIN = {
    "exact": regular(300, 30),
    "milliseconds": in_ms(regular(48, 12)),
    "fast, in milliseconds": in_ms(regular(600, 240)),
    "jittered": np.sort(regular(200, 30) + np.r_[0, RNG.uniform(-0.12, 0.12, 199)] / 30),
    "five frames for six": np.cumsum(np.r_[0, np.tile([1, 1, 1, 1, 1.5], 40)]) / 30,
    "two rates, half each": np.r_[regular(60, 30), 2 + regular(60, 15)],
    "one interval, and one of three": np.array([0, 0.1, 0.2, 0.5]),
}


@pytest.mark.parametrize("time_s", PLAIN.values(), ids=PLAIN.keys())
def test_without_pauses_the_rate_is_the_mean_over_all_frames(time_s: Float64) -> None:
    hz, step = number_frames(time_s)
    assert hz == (len(time_s) - 1) / time_s[-1]
    assert np.array_equal(step, np.rint(time_s * hz))


@pytest.mark.parametrize("pause_s", [0.35, 0.25, 10.03, 600.0])
@pytest.mark.parametrize("hz", [10, 12, 29.97])
def test_a_pause_bends_neither_the_rate_nor_the_steps_around_it(hz: float, pause_s: float) -> None:
    time_s = np.r_[regular(20, hz), 19 / hz + pause_s + regular(20, hz)]
    found, step = number_frames(time_s)
    assert found == pytest.approx(hz, rel=1e-9)
    assert step[:20].tolist() == list(range(20))
    assert (step[20:] - step[20]).tolist() == list(range(20))
    assert abs(step[20] - (19 + pause_s * hz)) <= 0.5 + 1e-6


def test_a_pause_of_half_a_step_costs_no_frame_whatever_the_jitter() -> None:
    time_s = in_ms(np.r_[regular(40, 12), 39 / 12 + 30.5 / 12 + regular(40, 12)])
    hz, step = number_frames(time_s)
    assert hz == pytest.approx(12, rel=1e-3)
    assert set(np.diff(np.delete(step, np.s_[40:]))) == set(np.diff(step[40:])) == {1}


def test_dropped_frames_leave_gaps_of_their_own_length() -> None:
    kept = np.flatnonzero(RNG.random(900) > 0.1)
    kept = kept - kept[0]
    hz, step = number_frames(in_ms(kept / 30))
    assert hz == pytest.approx(30, rel=1e-3)
    assert np.array_equal(step, kept)


def test_a_stall_made_up_by_a_burst_of_frames_counts_by_its_time() -> None:
    burst = np.r_[regular(28, 30), 1.2 + np.arange(8) * 0.004]
    hz, step = number_frames(np.r_[burst, 1.2667 + regular(60, 30)])
    assert hz == pytest.approx(30, rel=2e-2)
    assert step[-1] == pytest.approx((1.2667 + 59 / 30) * 30, abs=2)
    assert (np.diff(step) >= 0).all()


@pytest.mark.parametrize("time_s", [np.zeros(1), np.zeros(3)])
def test_frames_of_one_time_count_as_one_hertz(time_s: Float64) -> None:
    hz, step = number_frames(time_s)
    assert hz == 1
    assert not step.any()
