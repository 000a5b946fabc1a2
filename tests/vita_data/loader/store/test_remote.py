"""Batches from an object store are those from a disk, whatever is fetched ahead or kept; and little is read twice."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.store_proxy import StoreProxy
from tests.vita_data.loader.store.batches import assert_same, take
from vita_data.loader import LoaderOptions, Plan, RemoteOptions, make_loader
from vita_data.types import DrawOrder, Order

LOCAL_ORDER = DrawOrder(kind=Order.WINDOW, num_shards=1)


@pytest.mark.parametrize("stage", ["warmup", "cotrain", "finetune"])
def test_batches_are_those_of_the_disk(plan_at, shards: Path, address: str, tmp_path: Path, stage: str) -> None:
    expected, plan = take(plan_at(shards, stage), 3), plan_at(address, stage)
    assert plan.hash == plan_at(shards, stage).hash
    for prefetch, cache in ((0, None), (3, "a"), (0, "a")):
        assert_same(take(plan, 3, prefetch=prefetch, cache=cache and str(tmp_path / cache)), expected)


def test_ranks_that_share_a_cache_make_up_the_batches_of_the_disk(
    plan_at, shards: Path, address: str, tmp_path: Path
) -> None:
    expected = take(plan_at(shards, order=LOCAL_ORDER), 6)
    plan = plan_at(address, order=LOCAL_ORDER)
    loaders = [
        make_loader(
            plan,
            rank=rank,
            world_size=2,
            options=LoaderOptions(threads=1, remote=RemoteOptions(prefetch=2, cache=str(tmp_path))),
        )
        for rank in (0, 1)
    ]
    for batch in expected:
        halves = [next(loader) for loader in loaders]
        assert batch.key == halves[0].key + halves[1].key
        for name in ("images", "future", "action", "state"):
            whole, parts = getattr(batch, name), [getattr(half, name) for half in halves]
            assert whole is None if parts[0] is None else torch.equal(whole, torch.cat(parts))
    for loader in loaders:
        loader.close()


def test_a_run_goes_on_in_the_middle(plan_at, shards: Path, address: str) -> None:
    expected, options = take(plan_at(shards), 8), RemoteOptions(prefetch=4)
    with make_loader(plan_at(address), options=LoaderOptions(threads=2, remote=options)) as loader:
        assert_same([next(loader) for _ in range(3)], expected[:3])
        state = loader.state_dict()
        assert_same([next(loader) for _ in range(3)], expected[3:6])
        loader.load_state_dict(state)
        assert_same([next(loader) for _ in range(2)], expected[3:5])
    with make_loader(plan_at(address), options=LoaderOptions(threads=2, remote=options)) as other:
        other.load_state_dict(state)
        assert_same([next(other) for _ in range(5)], expected[3:])


# ------------------------------------------------------------------------------------------------ how much is read


def test_what_several_batches_need_is_asked_for_once(plan_at, address: str, proxy: StoreProxy) -> None:
    take(plan_at(address), 1, prefetch=20)
    asked = [(read.key, read.first) for read in proxy.reads]
    assert len(asked) == len(set(asked)) > 5


@pytest.mark.parametrize("order", [DrawOrder(), LOCAL_ORDER], ids=["global", "window"])
def test_a_restart_with_a_warm_cache_reads_nothing_from_the_store(
    plan_at, address: str, proxy: StoreProxy, tmp_path: Path, order: DrawOrder
) -> None:
    plan = plan_at(address, order=order)
    with make_loader(
        plan, options=LoaderOptions(threads=2, remote=RemoteOptions(prefetch=3, cache=str(tmp_path)))
    ) as loader:
        expected = [next(loader) for _ in range(4)]
        if order is LOCAL_ORDER:
            wait_for(lambda: whole_shards(tmp_path) >= 3)
    assert proxy.reads
    proxy.reads.clear()
    assert_same(take(plan, 1, prefetch=3, cache=str(tmp_path)), expected[:1])
    assert_same(take(plan, 4, prefetch=0, cache=str(tmp_path)), expected)
    assert proxy.reads == []


def wait_for(fact: Callable[[], bool], *, within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def whole_shards(folder: Path) -> int:
    return len(list(folder.glob("*.whole")))


def test_order_window_fetches_whole_shards_once_whatever_the_ranks(
    plan_at, shards: Path, address: str, proxy: StoreProxy, tmp_path: Path
) -> None:
    plan = plan_at(address, order=LOCAL_ORDER)
    sizes = {f"{address.removeprefix('s3://')}/{path.relative_to(shards)}": path for path in shards.rglob("*.tar")}
    options = RemoteOptions(prefetch=3, cache=str(tmp_path))
    loaders = [
        make_loader(plan, rank=rank, world_size=2, options=LoaderOptions(threads=1, remote=options)) for rank in (0, 1)
    ]
    for _ in range(3):
        for loader in loaders:
            next(loader)
    wait_for(lambda: whole_shards(tmp_path) >= 3)
    reads = list(proxy.reads)  # before closing: the other rank begins a fetch again that a closing one breaks off
    for loader in loaders:
        loader.close()
    wholly = [read.key for read in reads if read.first == 0 and read.stop > sizes[read.key].stat().st_size - 4096]
    assert len(wholly) == len(set(wholly)) >= 3


def test_a_cache_too_small_for_order_window_is_told_once_and_members_alone_are_read(
    plan_at, shards: Path, address: str, proxy: StoreProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = take(plan_at(shards, order=LOCAL_ORDER), 4)
    assert_same(take(plan_at(address, order=LOCAL_ORDER), 4, cache=str(tmp_path), cache_bytes=1 << 18), expected)
    told = [record.message for record in caplog.records if "order window" in record.message]
    assert len(told) == 1
    assert "the cache limit is 262,144; only the bytes that batches need are fetched. Raise cache_bytes" in told[0]
    assert whole_shards(tmp_path) == 0
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) <= 1 << 18


def test_prefetching_is_at_least_five_times_as_fast_on_a_distant_store(far_apart: Plan, proxy: StoreProxy) -> None:
    proxy.latency_s = 0.05

    def samples_per_s(num_batches: int, **options: int) -> float:
        with make_loader(far_apart, options=LoaderOptions(threads=2, remote=RemoteOptions(**options))) as loader:
            next(loader)
            begin_s = time.monotonic()
            for _ in range(num_batches):
                next(loader)
            return num_batches * 16 / (time.monotonic() - begin_s)

    without = samples_per_s(2, prefetch=0)
    proxy.most_at_once = 0
    ahead = samples_per_s(24, prefetch=8, connections=32)
    assert ahead >= 5 * without
    # More than botocore's own ten connections, and no more than was asked for.
    assert 10 < proxy.most_at_once <= 32
