"""What holds of the order for any sources, shards, clips, batch sizes and both kinds of order."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vita_data.loader import MixedModalitySampler, Plan, PlanChange, resume_plan
from vita_data.loader.order.exact_shares import PERIOD
from vita_data.types import BatchPlan, DrawOrder, Gaps, Modality, Order

WORLD_SIZES = range(1, 17)
MANY = settings(max_examples=15, deadline=None)


@dataclass(frozen=True)
class Mixture:
    """Numbers that a plan is made of."""

    sources: Mapping[str, tuple[tuple[dict[str, Any], ...], ...]]
    weights: Mapping[str, float]
    batch_size: Mapping[str, int]
    order: DrawOrder
    seed: int


@st.composite
def clips(draw: st.DrawFn, modality: Modality) -> dict[str, Any]:
    length = draw(st.integers(1, 12))
    steps = draw(st.sets(st.integers(0, 20), min_size=length, max_size=length))
    stored = draw(st.sets(st.integers(0, length - 1)))
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=4)))
    return {
        "steps": tuple(sorted(steps)), "stored": tuple(sorted(stored)), "keyframes": tuple(range(0, length, 2)),
        "valid": tuple(zip(cuts[::2], cuts[1::2], strict=False)), "hz": draw(st.sampled_from([1.0, 2.0, 3.7])),
        "gaps": draw(st.sampled_from(Gaps)), "modality": modality,
    }  # fmt: skip


def whole(modality: Modality) -> dict[str, Any]:
    """A clip with windows of every kind."""
    rows = tuple(range(4))
    return {"steps": rows, "stored": rows, "keyframes": rows, "valid": ((0, 4),), "hz": 1.0, "modality": modality}


ORDERS = st.one_of(st.just(DrawOrder()), st.builds(DrawOrder, kind=st.just(Order.WINDOW), num_shards=st.integers(1, 7)))


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    sources = {}
    for name, modality in (("arm", Modality.PAIRED), ("hand", Modality.PAIRED), ("human", Modality.VIDEO)):
        if name == "arm" or draw(st.booleans()):
            shards = draw(st.lists(st.lists(clips(modality), max_size=4), max_size=9))
            shards.insert(draw(st.integers(0, len(shards))), [whole(modality)])
            sources[name] = tuple(tuple(shard) for shard in shards)
    return Mixture(
        sources, {name: draw(st.floats(0.05, 20)) for name in sources},
        {"video": draw(st.integers(1, 40)), "action": draw(st.integers(1, 40))}, draw(ORDERS),
        draw(st.integers(0, 3)),
    )  # fmt: skip


@pytest.fixture(scope="session")
def plan_of(plan_listed: Callable[..., Plan], listed: type) -> Callable[..., Plan]:
    def make(mixture: Mixture, **changes: Any) -> Plan:
        mixture = replace(mixture, **changes)
        sources = {
            name: [[listed(**clip) for clip in shard] for shard in shards] for name, shards in mixture.sources.items()
        }
        return plan_listed(
            sources, weights=mixture.weights, batch_size=mixture.batch_size, order=mixture.order, seed=mixture.seed,
        )  # fmt: skip

    return make


def drawn(plan: Plan, first: int, stop: int) -> dict[tuple[Modality, int], list[int]]:
    """The windows of every pool in the order in which they come."""
    found = defaultdict(list)
    for picks in MixedModalitySampler(plan).picks_of(first, stop):
        for pool, window in zip(picks.pool.tolist(), picks.window.tolist(), strict=True):
            found[picks.modality, pool].append(window)
    return found


@given(mixture=mixtures(), k=st.integers(0, 10**7), world_size=st.sampled_from(WORLD_SIZES))
@MANY
def test_the_slices_of_any_world_size_make_up_the_batch(plan_of, mixture: Mixture, k: int, world_size: int) -> None:
    sampler = MixedModalitySampler(plan_of(mixture))
    picks = sampler.picks(k)
    for size in WORLD_SIZES:
        parts = [sampler.picks(k, rank=rank, world_size=size) for rank in range(size)]
        assert {part.modality for part in parts} == {picks.modality}
        assert np.concatenate([part.pool for part in parts]).tolist() == picks.pool.tolist()
        assert np.concatenate([part.window for part in parts]).tolist() == picks.window.tolist()
        assert max(len(part.pool) for part in parts) - min(len(part.pool) for part in parts) <= 1
    named = [sampler.batch(k, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert tuple(window for part in named for window in part.windows) == sampler.batch(k).windows


@given(mixture=mixtures(), first=st.integers(0, 10**6), count=st.integers(0, 12), world_size=st.integers(1, 5))
@MANY
def test_many_batches_at_once_are_those_one_by_one(
    plan_of, mixture: Mixture, first: int, count: int, world_size: int
) -> None:
    sampler, single = (MixedModalitySampler(plan_of(mixture)) for _ in range(2))
    for rank in range(world_size):
        together = sampler.picks_of(first, first + count, rank=rank, world_size=world_size)
        for number, picks in enumerate(together):
            one = single.picks(first + number, rank=rank, world_size=world_size)
            assert (picks.step, picks.modality) == (first + number, one.modality)
            assert (picks.pool.tolist(), picks.window.tolist()) == (one.pool.tolist(), one.window.tolist())
        assert len(together) == count


@given(mixture=mixtures(), k=st.one_of(st.integers(0, 40), st.integers(0, 10**8)), world_size=st.integers(1, 16))
@MANY
def test_resuming_anywhere_is_the_tail_of_the_run(plan_of, mixture: Mixture, k: int, world_size: int) -> None:
    running = MixedModalitySampler(plan_of(mixture))
    if k <= 40:
        running.picks_of(0, k)
    state = json.loads(json.dumps(running.state_dict(k)))
    resumed = MixedModalitySampler(resume_plan(plan_of(mixture), state))

    for step in range(k, k + 4):
        parts: list[BatchPlan] = [resumed.batch(step, rank=r, world_size=world_size) for r in range(world_size)]
        assert tuple(window for part in parts for window in part.windows) == running.batch(step).windows


@given(mixture=mixtures(), first=st.one_of(st.just(0), st.integers(0, 10**6)))
@MANY
def test_every_pass_holds_every_window_once(plan_of, mixture: Mixture, first: int) -> None:
    plan = plan_of(mixture)
    before = MixedModalitySampler(plan).draws_before(first)
    for (modality, number), windows in drawn(plan, first, first + 60).items():
        one = plan.pools[modality][number]
        size = one.pool.num_windows
        begin = -before[modality, one.label] % size
        for start in range(begin, len(windows) - size + 1, size):
            assert sorted(windows[start : start + size]) == list(range(size))
        # The passes at the ends, of which only a part was seen, hold nothing twice either.
        rest = begin + max(len(windows) - begin, 0) // size * size
        assert all(len(set(part)) == len(part) for part in (windows[:begin], windows[rest:]))


@given(mixture=mixtures(), first=st.integers(0, 10**5))
@MANY
def test_draws_stay_within_so_many_shards_at_a_time(plan_of, mixture: Mixture, first: int) -> None:
    plan = plan_of(mixture, order=DrawOrder(kind=Order.WINDOW, num_shards=mixture.order.num_shards % 7 + 1))
    before = MixedModalitySampler(plan).draws_before(first)
    for (modality, number), windows in drawn(plan, first, first + 60).items():
        one = plan.pools[modality][number]
        size, ends = one.pool.num_windows, one.pool.shard_ends
        shards = np.searchsorted(ends, windows, side="right").tolist()
        begin = -before[modality, one.label] % size
        for start in (0, *range(begin, len(windows), size)):
            once = shards[start : begin if start < begin else start + size]
            last = {shard: place for place, shard in enumerate(once)}
            met = {shard: len(once) - 1 - place for place, shard in enumerate(reversed(once))}
            for place in range(len(once)):
                begun = sum(met[shard] <= place <= last[shard] for shard in last)
                assert begun <= plan.order.num_shards


@given(mixture=mixtures(), changed=st.sampled_from(["arm", "hand", "human"]), more=st.integers(1, 5))
@settings(max_examples=8, deadline=None)
def test_a_source_that_grows_moves_only_its_own_windows(plan_of, mixture: Mixture, changed: str, more: int) -> None:
    assume(changed in mixture.sources)
    one = whole(Modality.VIDEO if changed == "human" else Modality.PAIRED)
    grown = (*mixture.sources[changed], (one,) * more)
    before = MixedModalitySampler(plan_of(mixture))
    after = MixedModalitySampler(plan_of(mixture, sources={**mixture.sources, changed: grown}))
    for k in range(12):
        old, new = before.batch(k), after.batch(k)
        assert old.modality == new.modality
        assert [window.source for window in old.windows] == [window.source for window in new.windows]
        others = [(a, b) for a, b in zip(old.windows, new.windows, strict=True) if a.source != changed]
        assert all(a == b for a, b in others)
    # And an allowed change goes on where each unchanged source was.
    state = json.loads(json.dumps(before.state_dict(7)))
    resumed = MixedModalitySampler(resume_plan(after.plan, state, plan_change=PlanChange.ALLOW))
    for k in range(7, 12):
        others = zip(before.batch(k).windows, resumed.batch(k).windows, strict=True)
        assert all(a == b for a, b in others if a.source != changed)


@given(mixture=mixtures(), first=st.integers(0, 10**6), count=st.integers(0, 9))
@MANY
def test_counted_draws_are_those_that_are_drawn(plan_of, mixture: Mixture, first: int, count: int) -> None:
    plan = plan_of(mixture)
    before, after = (MixedModalitySampler(plan).draws_before(k) for k in (first, first + count))
    found = drawn(plan, first, first + count)

    for modality, pools in plan.pools.items():
        for number, one in enumerate(pools):
            pool = modality, one.label
            assert after[pool] - before[pool] == len(found.get((modality, number), []))


@given(mixture=mixtures(), share=st.floats(0.001, 0.999), blocks=st.lists(st.integers(0, 3000), max_size=5))
@settings(max_examples=20, deadline=None)
def test_shares_are_exact_after_every_block(plan_of, mixture: Mixture, share: float, blocks: list[int]) -> None:
    plan = plan_of(mixture, batch_size={"video": 4096, "action": 1024})
    plan = replace(plan, modality_steps={Modality.VIDEO: share, Modality.ACTION: 1 - share})
    sampler, sizes = MixedModalitySampler(plan), plan.batch_size
    for block in (1, 2, 3, *blocks):
        drawn_so_far = sampler.draws_before(1000 * block)
        for modality, pools in plan.pools.items():
            total = sum(drawn_so_far[modality, one.label] for one in pools)
            assert abs(total // sizes[modality] - 1000 * block * plan.modality_steps[modality]) <= 1
            if total % 4096 == 0:
                # Shares are kept to 1 part in 4096 x PERIOD, which comes to a draw in 67 million.
                slack = 1 + total / (4096 * PERIOD)
                assert all(abs(drawn_so_far[modality, one.label] - total * one.share) <= slack for one in pools)
