"""Scaling by q01 and q99, its exceptions, and its inverse."""

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.loader.normalize import ACTION14, ACTION_RULES, STATE_RULES, Scaling, action_scaling, state_scaling


def stats(dim: int, low: float, high: float) -> dict[str, list[float | None] | list[bool]]:
    return {"q01": [low] * dim, "q99": [high] * dim, "mask": [True] * dim}


def test_quantiles_map_to_one_and_are_clipped_at_two() -> None:
    scaling = Scaling.of(stats(40, -1.0, 3.0), ACTION_RULES)
    values = np.zeros((4, 40), np.float32)
    values[:, 16] = [-1.0, 3.0, 1.0, 100.0]

    assert scaling.normalize(values, np.ones((4, 40), bool))[:, 16].tolist() == [-1.0, 1.0, 0.0, 2.0]


@pytest.mark.parametrize("column", [6, 22])
def test_grippers_map_from_unit_to_plus_minus_one_whatever_the_statistics(column: int) -> None:
    values = np.zeros((2, 40), np.float32)
    values[1, column] = 1.0
    scaling = Scaling.of(stats(40, 5.0, 5.0), ACTION_RULES)

    assert scaling.normalize(values, np.ones((2, 40), bool))[:, column].tolist() == [-1.0, 1.0]


def test_rot6d_is_unchanged_and_opening_is_not() -> None:
    values = np.full(64, 0.75, np.float32)
    scaled = Scaling.of(stats(64, 0.0, 1.0), STATE_RULES).normalize(values, np.ones(64, bool))

    assert np.all(scaled[np.r_[3:9, 27:33]] == 0.75)
    assert scaled[9] == scaled[33] == 0.5
    assert scaled[24] == 0.5


def test_a_column_that_never_moves_becomes_zero() -> None:
    values = np.full(40, 7.0, np.float32)

    assert Scaling.of(stats(40, 7.0, 7.0 + 5e-7), ACTION_RULES).normalize(values, np.ones(40, bool))[0] == 0


def test_masked_entries_are_zero_and_columns_without_statistics_count_as_masked() -> None:
    scaling = Scaling.of(None, ACTION_RULES)

    assert np.flatnonzero(scaling.known).tolist() == [6, 22]
    assert not scaling.normalize(np.ones(40, np.float32), np.zeros(40, bool)).any()
    assert np.flatnonzero(scaling.normalize(np.ones(40, np.float32), np.ones(40, bool))).tolist() == [6, 22]


def test_masked_entries_may_hold_anything() -> None:
    values = np.array([np.inf, -np.inf, np.nan, 3e38] * 10, np.float32)

    assert not Scaling.of(stats(40, 5.0, 5.0), ACTION_RULES).normalize(values, np.zeros(40, bool)).any()


def test_unnormalize_inverts_normalize() -> None:
    scaling = Scaling.of(stats(40, -0.5, 1.5), ACTION_RULES).take(ACTION14)
    values = np.random.default_rng(0).uniform(-0.5, 1.5, (5, 14)).astype(np.float32)

    scaled = scaling.normalize(values, np.ones((5, 14), bool))

    np.testing.assert_allclose(scaling.unnormalize(scaled), values, atol=1e-6)


def test_statistics_of_a_checkpoint_are_enough() -> None:
    action = {"q01": [None] * 16 + [-1.0] * 24, "q99": [None] * 16 + [1.0] * 24, "mask": [False] * 16 + [True] * 24}
    statistics = {"arm": {"source": {"arm": {"action": action}}, "embodiment": {}}}
    scaling = action_scaling(statistics, "arm")

    assert np.flatnonzero(scaling.known).tolist() == [6, *range(7, 14)]
    assert np.flatnonzero(state_scaling(statistics, "arm").known).tolist() == [*range(3, 10), *range(27, 34)]
    with pytest.raises(RequestError, match=r"source 'leg'; available: arm"):
        action_scaling(statistics, "leg")
