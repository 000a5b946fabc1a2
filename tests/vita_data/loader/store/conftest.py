"""Synthetic shards in a store behind a proxy, and plans that read them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.object_store import ObjectStore
from tests.store_proxy import StoreProxy, proxy_before
from vita_data.loader import Plan
from vita_data.types import Manifest, Modality


@pytest.fixture(scope="module")
def running_proxy(store: ObjectStore) -> Iterator[StoreProxy]:
    with proxy_before(store) as proxy:
        yield proxy


@pytest.fixture
def proxy(running_proxy: StoreProxy) -> Iterator[StoreProxy]:
    running_proxy.reads.clear()
    yield running_proxy
    running_proxy.answer, running_proxy.latency_s = running_proxy.whole, 0.0


@pytest.fixture(scope="module")
def address(shards: Path, store: ObjectStore, running_proxy: StoreProxy) -> str:
    bucket = store.make_bucket()
    store.upload(shards, f"{bucket}/shards")
    return f"{bucket}/shards"


@pytest.fixture(scope="module")
def plan_at(manifest: Callable[..., Manifest]) -> Callable[..., Plan]:
    made: dict[str, Plan] = {}

    def make(where: Path | str, stage: str = "warmup", **options: object) -> Plan:
        weights = {"arm": 1, "hand": 1} if stage == "finetune" else {"arm": 1, "hand": 1, "human": 1}
        slot = f"{where} {stage} {options}"
        if slot not in made:
            made[slot] = Plan.from_manifest(manifest(**weights), shards=where, stage=stage, batch_size=8, **options)
        return made[slot]

    return make


@pytest.fixture
def copy(shards: Path, store: ObjectStore, proxy: StoreProxy) -> str:
    """Shards of a test's own in the store, which is asked itself."""
    proxy.answer = None
    bucket = store.make_bucket()
    store.upload(shards, bucket)
    return bucket


@pytest.fixture(scope="module")
def far_apart(store: ObjectStore, running_proxy, make_clip, save, tmp_path_factory, manifest) -> Plan:
    """Many short clips, so that hardly two windows of a batch lie side by side."""
    root = tmp_path_factory.mktemp("far")
    save(root, [make_clip("human", n, steps=10, modality=Modality.VIDEO) for n in range(300)], per_shard=150)
    bucket = store.make_bucket()
    store.upload(root, bucket)
    return Plan.from_manifest(
        manifest(human=1), shards=bucket, stage="warmup", batch_size=16, modality_steps={"video": 1}
    )
