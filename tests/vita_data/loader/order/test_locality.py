"""A pass that takes a few shards at a time is a permutation, group by group."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.loader.order.locality import local_windows

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any)


@given(sizes=SIZES, num_shards=st.integers(1, 25), key=st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_a_pass_is_one_to_one_and_ends_a_group_before_it_begins_the_next(
    sizes: list[int], num_shards: int, key: int
) -> None:
    ends = np.cumsum(sizes)
    windows = local_windows(np.arange(ends[-1]), ends, num_shards=num_shards, key=key)
    shards = np.searchsorted(ends, windows, side="right").tolist()

    assert sorted(windows.tolist()) == list(range(ends[-1]))
    groups: list[set[int]] = [set()]
    left = {shard: sizes[shard] for shard in set(shards)}
    for shard in shards:
        if shard not in groups[-1] and not any(left[one] for one in groups[-1]):
            groups.append(set())
        groups[-1].add(shard)
        left[shard] -= 1
    assert max(map(len, groups)) <= num_shards


@given(sizes=SIZES, num_shards=st.integers(1, 25), key=st.integers(0, 2**64 - 1), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_any_positions_agree_with_the_whole_pass(sizes: list[int], num_shards: int, key: int, seed: int) -> None:
    ends = np.cumsum(sizes)
    whole = local_windows(np.arange(ends[-1]), ends, num_shards=num_shards, key=key)
    some = np.random.default_rng(seed).integers(ends[-1], size=7)

    assert local_windows(some, ends, num_shards=num_shards, key=key).tolist() == whole[some].tolist()


def test_windows_of_a_group_are_mixed_and_another_key_is_another_order() -> None:
    ends = np.arange(1, 9) * 100
    one, two = (local_windows(np.arange(800), ends, num_shards=4, key=key) for key in (1, 2))
    shards = np.searchsorted(ends, one[:400], side="right")

    assert len(set(shards.tolist())) == 4
    assert np.count_nonzero(np.diff(shards)) > 200
    assert one.tolist() != two.tolist()
