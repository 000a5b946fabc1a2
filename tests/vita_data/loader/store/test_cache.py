"""The cache of remote shards: what it gives is what was written, its limit holds, and what breaks is fetched again."""

import errno
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from isal.isal_zlib import crc32

from vita_data.errors import RequestError
from vita_data.loader.store.cache import ShardCache
from vita_data.shards.schema import MemberRef

SHARD = "s3://bucket/shards/a/train/a-train-000000.tar"
PAGE = 4096


def content(size: int, seed: int = 0) -> bytes:
    return bytes((seed + number * 7) % 251 for number in range(size))


def ref(offset: int, data: bytes) -> MemberRef:
    return MemberRef(offset, len(data), crc32(data))


def address(number: int) -> str:
    return f"s3://bucket/shards/a/train/a-train-{number:06d}.tar"


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.tar")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path, limit_bytes=1 << 30)


def test_what_was_written_is_given_and_nothing_else(cache: ShardCache) -> None:
    data = content(1000)
    assert cache.read(SHARD, ref(700, data)) is None
    cache.write(SHARD, 700, data)
    assert cache.read(SHARD, ref(700, data)) == data
    assert cache.read(SHARD, ref(710, data[10:30])) == data[10:30]
    assert cache.read(SHARD, ref(0, content(700))) is None
    assert cache.read(address(1), ref(700, data)) is None


def test_a_hole_is_not_there_though_its_file_is_longer(cache: ShardCache) -> None:
    cache.write(SHARD, 1 << 20, b"end")
    assert cache.read(SHARD, ref(0, content(1000))) is None


@pytest.mark.parametrize("harm", ["flip", "cut", "rebuilt"])
def test_what_was_harmed_is_not_given_until_it_is_written_again(cache: ShardCache, tmp_path: Path, harm: str) -> None:
    data = content(5000)
    cache.write(SHARD, 512, data)
    cache.mark_whole(SHARD)
    path = only_file(tmp_path)
    harmed = bytearray(path.read_bytes())
    if harm == "flip":
        harmed[3000] ^= 4
        path.write_bytes(harmed)
    elif harm == "cut":
        os.truncate(path, 4000)
    else:
        data = content(5000, seed=1)
    assert cache.read(SHARD, ref(512, data)) is None
    assert not cache.is_whole(SHARD)
    cache.write(SHARD, 512, data)
    assert cache.read(SHARD, ref(512, data)) == data


def test_another_run_on_the_same_folder_finds_what_is_there(cache: ShardCache, tmp_path: Path) -> None:
    data = content(100)
    cache.write(SHARD, 0, data)
    cache.mark_whole(SHARD)
    cache.close()
    again = ShardCache(tmp_path, limit_bytes=1 << 30)
    assert again.read(SHARD, ref(0, data)) == data
    assert again.is_whole(SHARD)


def test_the_limit_holds_on_the_disk_and_the_shards_used_longest_ago_go(tmp_path: Path) -> None:
    limit, data = 64 * PAGE, content(2 * PAGE)
    cache = ShardCache(tmp_path, limit_bytes=limit)
    for number in range(40):
        cache.write(address(number), number * PAGE, data)
        cache.mark_whole(address(number))
        path = next(tmp_path.glob(f"*-{number:06d}.tar"))
        os.utime(path, (number, number))
        assert used(tmp_path) <= limit
    left = [number for number in range(40) if cache.read(address(number), ref(number * PAGE, data)) is not None]
    assert left == list(range(left[0], 40))
    assert len(left) > 15
    assert [cache.is_whole(address(number)) for number in range(40)] == [number in left for number in range(40)]


def test_reading_a_shard_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.loader.store.cache._TOUCH_S", -1.0)
    cache, data = ShardCache(tmp_path, limit_bytes=64 * PAGE), content(2 * PAGE)
    cache.write(address(99), 0, data)
    for number in range(40):
        assert cache.read(address(99), ref(0, data)) == data
        cache.write(address(number), 0, data)
        os.utime(next(tmp_path.glob(f"*-{number:06d}.tar")), (number, number))


def test_more_than_the_limit_is_not_written(tmp_path: Path) -> None:
    cache, data = ShardCache(tmp_path, limit_bytes=4 * PAGE), content(8 * PAGE)
    cache.write(SHARD, 0, data)
    assert used(tmp_path) == 0
    assert cache.read(SHARD, ref(0, data)) is None


def test_a_limit_less_than_what_is_in_use_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ShardCache(tmp_path, limit_bytes=16 * PAGE)
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            cache.write(address(number), 0, content(PAGE))
    assert len(caplog.records) == 1
    assert "is less than the bytes in use" in caplog.text


def test_what_another_rank_removed_takes_no_space_and_is_written_anew(tmp_path: Path) -> None:
    ours, theirs = (ShardCache(tmp_path, limit_bytes=32 * PAGE) for _ in range(2))
    data = content(8 * PAGE)
    ours.write(SHARD, 0, data)
    held = os.open(only_file(tmp_path), os.O_RDONLY)
    os.utime(only_file(tmp_path), (1, 1))
    for number in range(1, 5):
        theirs.write(address(number), 0, data)
    assert os.fstat(held).st_nlink == 0
    assert os.fstat(held).st_blocks == 0
    os.close(held)
    assert ours.read(SHARD, ref(0, data)) is None
    ours.write(SHARD, 0, data)
    assert ours.read(SHARD, ref(0, data)) == data


def _fill(folder: Path, first: int, limit: int) -> None:
    cache = ShardCache(folder, limit_bytes=limit)
    for number in range(first, first + 60):
        data = content(PAGE, seed=number)
        cache.write(address(number % 13), number * PAGE, data)
        found = cache.read(address(number % 13), ref(number * PAGE, data))
        assert found in (None, data)
    os._exit(0)


def test_processes_share_a_folder_within_one_limit(tmp_path: Path) -> None:
    # Forked, as a program might: what is inherited open must do no harm.
    limit, inherited = 128 * PAGE, ShardCache(tmp_path, limit_bytes=128 * PAGE)
    inherited.write(address(0), 0, content(PAGE))
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_fill, args=(tmp_path, 60 * rank, limit)) for rank in range(3)]
    for rank in ranks:
        rank.start()
    most = 0
    while any(rank.is_alive() for rank in ranks):
        most = max(most, _used_while_changing(tmp_path))
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert most <= limit
    assert inherited.read(address(0), ref(0, content(PAGE))) in (None, content(PAGE))


def _used_while_changing(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit_bytes=64 * PAGE)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(100):
            data = content(1000, seed=seed)
            cache.write(address(number % 7), seed * 1000, data)
            if cache.read(address(number % 7), ref(seed * 1000, data)) not in (None, data):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert used(tmp_path) <= 64 * PAGE


def test_a_disk_that_fills_up_is_told_once_and_reading_goes_on(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = content(100)
    cache.write(SHARD, 0, kept)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vita_data.loader.store.cache.os.pwrite", full)
    for number in range(3):
        cache.write(SHARD, 4096 * number, content(100))
    assert [record.message for record in caplog.records if "No space left" in record.message] == [caplog.messages[0]]
    assert len(caplog.messages) == 1
    assert cache.read(SHARD, ref(0, kept)) == kept


def test_a_folder_that_becomes_read_only_gives_nothing_and_raises_nothing(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("vita_data.loader.store.cache.os.open", refuse)
    cache.write(SHARD, 0, b"data")
    assert cache.read(SHARD, ref(0, b"data")) is None


@pytest.mark.parametrize("make", [lambda tmp: Path("/proc/vita-cache"), lambda tmp: tmp / "file"])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"^cache /\S+: cannot be written to \("):
        ShardCache(make(tmp_path), limit_bytes=1)


def test_a_limit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="its limit must be at least 1 byte; found 0"):
        ShardCache(tmp_path, limit_bytes=0)


def test_one_of_those_that_share_a_folder_claims_a_shard(cache: ShardCache, tmp_path: Path) -> None:
    other = ShardCache(tmp_path, limit_bytes=1 << 30)
    with cache.claimed(SHARD) as ours, other.claimed(SHARD) as theirs, other.claimed(address(1)) as another:
        assert (ours, theirs, another) == (True, False, True)
    with other.claimed(SHARD) as theirs:
        assert theirs
