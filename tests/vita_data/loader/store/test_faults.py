"""What breaks in a store or a cache ends the run by name, is fetched again, or is told; it is never a sample."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.object_store import ObjectStore, refusing_credentials
from tests.store_proxy import RangeRead, StoreProxy
from tests.vita_data.loader.store.batches import assert_same, take
from vita_data.errors import RequestError, ShardError, StorageError
from vita_data.loader import Damage, LoaderOptions, Plan, RemoteOptions, make_loader
from vita_data.loader.loader import Loader
from vita_data.storage.files import MAX_CONNECTIONS
from vita_data.types import Batch, Modality

MEMBER = r"shard s3://\S+-train-\d{6}\.tar, clip \w+-[0-9a-f]{16}, member [\w.]+"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def read_on(loader: Loader) -> None:
    for _ in range(100):
        next(loader)


def fails(plan: Plan, kind: type[Exception], told: str, *, prefetch: int, **options: object) -> str:
    """Read until the run ends; it ends in one line that names shard, clip and member."""
    with make_loader(
        plan, options=LoaderOptions(threads=2, remote=RemoteOptions(prefetch=prefetch), **options)
    ) as loader:
        with pytest.raises(kind, match=rf"{MEMBER}.*{told}") as raised:
            read_on(loader)
        with pytest.raises(StopIteration):
            next(loader)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("prefetch", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_key_that_vanishes_ends_the_run(plan_at, copy: str, store: ObjectStore, prefetch: int) -> None:
    plan = plan_at(copy)
    store.remove_bucket(copy)
    said = fails(plan, StorageError, "cannot be read", prefetch=prefetch)
    assert said.endswith("fix this and run the same command again with --resume; it resumes from the last checkpoint")


@pytest.mark.parametrize(("prefetch", "part"), [pytest.param(0, 0.0, marks=pytest.mark.slow), (3, 0.0), (3, 0.5)])
def test_a_key_cut_short_is_damage(plan_at, copy: str, store: ObjectStore, prefetch: int, part: float) -> None:
    plan = plan_at(copy)
    for key, data in store.objects(copy).items():
        if key.endswith(".tar"):
            store.put(f"{copy}/{key}", data[: int(1 + part * len(data))])
    fails(plan, ShardError, "do not match crc32", prefetch=prefetch)


def flip(plan: Plan, store: ObjectStore) -> None:
    """Flip a bit in the second image of each clip of the source `arm`."""
    for view in plan.pools[Modality.VIDEO][0].pool.opened.views:
        shard = view.shard
        data = bytearray(shard.read_bytes() if isinstance(shard, Path) else store.get(str(shard)))
        for clip in range(len(view)):
            data[view.frame_ref(view.num_frames_before(clip) + 1).offset + 9] ^= 1
        shard.write_bytes(data) if isinstance(shard, Path) else store.put(str(shard), bytes(data))


@pytest.mark.parametrize("prefetch", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_flipped_bit_in_the_store_ends_the_run(plan_at, copy: str, store: ObjectStore, prefetch: int) -> None:
    plan = plan_at(copy)
    flip(plan, store)
    fails(plan, ShardError, "do not match crc32", prefetch=prefetch)


def test_substitutes_are_those_of_the_disk(
    plan_at, copy: str, shards: Path, store: ObjectStore, tmp_path: Path
) -> None:
    local = Path(shutil.copytree(shards, tmp_path / "shards"))
    counts: list[dict[str, int]] = []
    found: list[list[Batch]] = []
    for where in (local, copy):
        plan = plan_at(where)
        flip(plan, store)
        options = RemoteOptions(prefetch=3, cache=str(tmp_path / "cache"))
        with make_loader(
            plan, options=LoaderOptions(threads=2, ahead=1, damage=Damage.SUBSTITUTE, remote=options)
        ) as loader:
            found.append([next(loader) for _ in range(8)])
            counts.append(loader.substituted)
    assert_same(found[1], found[0])
    assert counts[0]["arm"] > 0
    assert counts[0].keys() == counts[1].keys()


def test_a_bit_flipped_in_the_cache_is_fetched_again(plan_at, address: str, proxy: StoreProxy, tmp_path: Path) -> None:
    plan = plan_at(address)
    expected = take(plan, 3, prefetch=3, cache=str(tmp_path))
    for path in tmp_path.glob("*.tar"):
        data = path.read_bytes()
        path.write_bytes(bytes(byte ^ 1 for byte in data[:-1]) + data[-1:])
    proxy.reads.clear()
    assert_same(take(plan, 3, prefetch=3, cache=str(tmp_path)), expected)
    assert proxy.reads


def test_a_shard_built_anew_under_its_address_is_not_taken_from_the_cache(
    store: ObjectStore, proxy: StoreProxy, make_clip, save, manifest, tmp_path: Path
) -> None:
    proxy.answer, bucket = None, store.make_bucket()
    for steps in (20, 30):
        root = tmp_path / str(steps)
        save(root, [make_clip("arm", n, steps=steps) for n in range(4)])
        store.upload(root, bucket)
        plans = [
            Plan.from_manifest(manifest(arm=1), shards=where, stage="finetune", batch_size=4)
            for where in (root, bucket)
        ]
        assert_same(take(plans[1], 3, prefetch=0, cache=str(tmp_path / "cache")), take(plans[0], 3))


def test_a_refused_credential_ends_the_run(plan_at, copy: str) -> None:
    plan = plan_at(copy)
    with refusing_credentials():
        fails(plan, StorageError, "access denied", prefetch=3)


def test_a_store_that_goes_away_in_the_middle_ends_the_run(
    store: ObjectStore, plan_at, copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    with make_loader(plan_at(copy), options=LoaderOptions(threads=2, remote=RemoteOptions(prefetch=1))) as loader:
        next(loader)
        with store.stopped(), pytest.raises(StorageError, match=rf"{MEMBER}.*cannot be read") as raised:
            read_on(loader)
    assert "\n" not in str(raised.value)


def test_what_passes_is_tried_again(plan_at, shards: Path, address: str, proxy: StoreProxy) -> None:
    seen: set[RangeRead] = set()

    def answer(read: RangeRead) -> bytes:
        if read in seen:
            return proxy.whole(read)
        seen.add(read)
        if len(seen) % 2:
            return b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n%s" % (len(SLOW_DOWN), SLOW_DOWN)
        return proxy.whole(read)[:-1]

    proxy.answer = answer
    assert_same(take(plan_at(address), 3, prefetch=3), take(plan_at(shards), 3))
    assert len(seen) > 5


def test_a_store_that_never_answers_ends_the_run_by_name(plan_at, address: str, proxy: StoreProxy) -> None:
    proxy.answer = lambda read: None if len(proxy.reads) > 3 else proxy.whole(read)
    begin_s = time.monotonic()
    fails(plan_at(address), StorageError, r"no answer for 1 s", prefetch=3, read_timeout_s=0.5)
    assert time.monotonic() - begin_s < 15


def test_closing_stops_what_is_being_fetched(far_apart: Plan, proxy: StoreProxy) -> None:
    proxy.latency_s = 0.2
    before = set(threading.enumerate())
    loader = make_loader(far_apart, options=LoaderOptions(threads=2, remote=RemoteOptions(prefetch=50, connections=4)))
    next(loader)
    ours = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("vita-")]
    # A client that an earlier test left without an answer may ask again.
    key = proxy.reads[-1].key.split("/")[0]
    loader.close()
    num_reads = sum(read.key.startswith(key) for read in proxy.reads)
    for thread in ours:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ours)
    assert sum(read.key.startswith(key) for read in proxy.reads) <= num_reads + 4


HANGS = """
import sys
from vita_data.errors import VitaDataError
from vita_data.loader import *
from vita_data.types import *

manifest = Manifest(name="t", path="t", entries=(MixtureEntry(source="arm", weight=1),))
plan = Plan.from_manifest(manifest, shards=sys.argv[1], stage="finetune", batch_size=4)
remote = RemoteOptions(prefetch=4, cache=sys.argv[2])
try:
    next(make_loader(plan, options=LoaderOptions(threads=2, read_timeout_s=0.5, remote=remote)))
except VitaDataError as error:
    sys.exit(str(error))
"""


def test_a_process_whose_store_never_answers_exits(address: str, proxy: StoreProxy, tmp_path: Path) -> None:
    proxy.answer = lambda read: None if read.key.endswith(".tar") else proxy.whole(read)
    command = [sys.executable, "-c", HANGS.replace("sys.argv[2]", repr(str(tmp_path)))]
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no answer for" in line


@pytest.mark.parametrize("options", [{"connections": 0}, {"connections": MAX_CONNECTIONS + 1}, {"prefetch": -1}])
def test_numbers_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(RequestError, match=f"RemoteOptions.{name} must be a whole number, at least [01]"):
        RemoteOptions(**options)


def test_a_store_that_cannot_be_opened_is_one_line(plan_at, address: str, store: ObjectStore) -> None:
    with pytest.raises(RequestError, match=r"the folder of shards s3://absent/x does not exist"):
        plan_at("s3://absent/x")
    with refusing_credentials(), pytest.raises(StorageError, match=r"^s3://bucket-\d+/shards: access denied"):
        plan_at(address, seed=1)
