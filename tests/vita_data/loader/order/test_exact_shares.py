"""Proportions are exact at the end of every block, and a permutation is one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.loader.order.exact_shares import PERIOD, ExactShares, quantize
from vita_data.loader.order.permute import permute

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=14)


@given(weights=WEIGHTS, block=st.sampled_from([4096, 1000]))
@settings(max_examples=40, deadline=None)
def test_counts_stay_within_one_of_their_share_after_every_block(weights: list[float], block: int) -> None:
    shares = np.array(weights) / sum(weights)
    blocks = ExactShares(shares, block=block, key=1)
    before = np.zeros(len(shares), np.int64)
    for number in range(1, 60):
        counts = blocks.counts(number * block)
        assert counts.sum() == number * block
        assert np.all(counts >= before)
        assert np.abs(counts - number * block * shares).max() <= 1
        before = counts


@given(weights=WEIGHTS, first=st.integers(0, 10**12), length=st.integers(0, 9000))
@settings(max_examples=10, deadline=None)
def test_any_draws_agree_with_the_counts_around_them(weights: list[float], first: int, length: int) -> None:
    blocks = ExactShares(np.array(weights), block=4096, key=2)
    choices = blocks.draws(first, first + length)
    before, after = blocks.counts(first), blocks.counts(first + length)

    assert len(choices.member) == length
    for member in range(len(weights)):
        ordinals = choices.ordinal[choices.member == member]
        assert ordinals.tolist() == list(range(before[member], after[member]))


def test_a_whole_period_holds_exactly_the_units() -> None:
    blocks = ExactShares(np.array([0.2, 0.5, 0.3]), block=1000, key=3)

    assert blocks.counts(1000 * PERIOD).tolist() == blocks.units.tolist()
    assert blocks.counts(3 * 1000 * PERIOD).tolist() == (3 * blocks.units).tolist()


def test_the_order_inside_a_block_is_mixed() -> None:
    members = ExactShares(np.array([0.5, 0.5]), block=4096, key=4).draws(0, 4096).member

    assert 1800 < np.count_nonzero(np.diff(members)) < 2300


@given(weights=st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=14))
def test_quantized_shares_add_up_and_none_is_lost(weights: list[float]) -> None:
    units = quantize(np.array(weights), total=1000 * PERIOD)

    assert units.sum() == 1000 * PERIOD
    assert units.min() >= 1


def permuted(size: int, key: int) -> np.ndarray:
    return permute(np.arange(size), np.full(size, size), np.full(size, key, np.uint64))


@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_permute_is_one_to_one(size: int, key: int) -> None:
    assert sorted(permuted(size, key).tolist()) == list(range(size))


def test_permute_mixes_and_depends_on_its_key() -> None:
    one, two = (permuted(10_000, key) for key in (1, 2))

    assert not np.array_equal(one, two)
    assert abs(np.corrcoef(np.arange(10_000), one)[0, 1]) < 0.05


@pytest.mark.parametrize("position", [0, 10**9 - 1])
def test_permute_needs_no_table(position: int) -> None:
    assert 0 <= permute(np.array([position]), np.array([10**9]), np.zeros(1, np.uint64))[0] < 10**9
