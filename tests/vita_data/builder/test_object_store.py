"""A build from and to an object store: the bytes of a build on a disk, whatever breaks on the way."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.object_store import ObjectStore, environment, files_below, refusing_credentials, unreachable
from vita_data import builder, sources
from vita_data.builder import BuildRequest, Listeners, LocalEngine, build, status
from vita_data.builder.run import BuildState
from vita_data.cli.main import main
from vita_data.config.settings import parse_settings
from vita_data.errors import StorageError
from vita_data.shards.index import read_card
from vita_data.shards.stats import write_stats
from vita_data.shards.verify import verify
from vita_data.storage.files import open_path

IN_THE_GATE = ("bridge", "ssv2", "libero", "calvin", "robomind_ur5e")


def request(name: str, raw: str, out: str, *texts: str) -> BuildRequest:
    settings = parse_settings(sources.load(name).Settings, texts, source=name)
    return BuildRequest(source=name, raw=raw, out=open_path(out), settings=settings)


def shards_on_disk(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_below(out).items() if not name.endswith(".build/lock")}


@pytest.mark.parametrize(
    "name",
    [name if name in IN_THE_GATE else pytest.param(name, marks=pytest.mark.slow) for name in sources.names()],
)
def test_from_a_store_to_a_store_the_bytes_are_those_on_a_disk(
    name: str, toy_raw: Path, tmp_path: Path, store: ObjectStore
) -> None:
    on_disk = build(request(name, str(toy_raw / name), str(tmp_path)))
    bucket = store.make_bucket()
    store.upload(toy_raw / name, f"{bucket}/raw/{name}")
    result = build(request(name, f"{bucket}/raw/{name}", f"{bucket}/out"))
    assert result.state is BuildState.BUILT
    assert store.objects(f"{bucket}/out") == shards_on_disk(tmp_path)
    assert result.unread == on_disk.unread


@pytest.fixture(scope="module")
def split_raw(toy_raw: Path, store: ObjectStore) -> str:
    """A raw tree in a store; asked for with `unit_bytes=1` it has several units."""
    bucket = store.make_bucket()
    store.upload(toy_raw / "ssv2", f"{bucket}/raw")
    return f"{bucket}/raw"


@pytest.fixture(scope="module")
def undisturbed(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    build(request("ssv2", str(toy_raw / "ssv2"), str(out), "unit_bytes=1"))
    return shards_on_disk(out)


@pytest.fixture
def asked(split_raw: str, store: ObjectStore) -> BuildRequest:
    return request("ssv2", split_raw, store.make_bucket(), "unit_bytes=1")


def found(store: ObjectStore, asked: BuildRequest) -> dict[str, bytes]:
    return store.objects(str(asked.out))


def check_nothing_half(written: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """Only files of the undisturbed build are visible, each whole, and no record without its shards."""
    assert {name: data for name, data in written.items() if data != whole.get(name)} == {}
    assert not any(name.endswith("dataset.json") for name in written)
    for name in written:
        if "unit-" in name:
            number = name.split("unit-")[1].removesuffix(".json")
            shards = {shard for shard in whole if f"-{number}." in shard}
            assert shards <= set(written)


def test_what_reads_shards_reads_them_from_a_store(
    store: ObjectStore, asked: BuildRequest, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(asked)
    assert found(store, asked) == undisturbed
    report = verify(asked.folder)
    assert (report.problems, report.num_shards > 2, report.num_clips > 2) == ((), True, True)
    how_far = status(asked.folder)
    assert how_far.finished
    assert how_far.num_done == how_far.num_units > 2
    write_stats(asked.folder)
    assert found(store, asked) == undisturbed

    written: list[str] = []
    s3fs = pytest.importorskip("s3fs.core")
    call = s3fs.S3FileSystem._call_s3

    async def note(fs: object, method: str, *args: object, **kwargs: object) -> object:
        if not method.startswith(("get", "head", "list")):
            written.append(method)
        return await call(fs, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", note)
    assert build(asked).state is BuildState.ALREADY_DONE
    assert written == []

    shard = next(name for name in undisturbed if name.endswith(".tar"))
    damaged = bytearray(undisturbed[shard])
    damaged[1000] ^= 1
    store.put(f"{asked.folder.parent}{shard}", bytes(damaged))
    assert any(Path(shard).name in problem for problem in verify(asked.folder).problems)


@pytest.mark.slow
def test_two_workers_write_the_same(store: ObjectStore, asked: BuildRequest, undisturbed: dict[str, bytes]) -> None:
    build(asked, engine=LocalEngine(workers=2))
    assert found(store, asked) == undisturbed


# ------------------------------------------------------------------------------------------------ what may happen

_KILLED = """
import asyncio, sys, s3fs.core
from vita_data import builder
from vita_data.cli.main import main

# In this process, where calls can be stopped; workers of the command would have clients of their own.
builder.LocalEngine = lambda **options: builder.InlineEngine()

point, number, call, num_seen = sys.argv[1], int(sys.argv[2]), s3fs.core.S3FileSystem._call_s3, 0
s3fs.core.calculate_chunksize = lambda size, chunksize: 4096

async def stop(fs, method, *args, **kwargs):
    global num_seen
    num_seen += f"{method} {kwargs.get('Key', '')}".startswith(point.partition("*")[0]) and kwargs.get(
        "Key", "").endswith(point.partition("*")[2])
    if num_seen == number:
        print("there", flush=True)
        await asyncio.sleep(1000)
    return await call(fs, method, *args, **kwargs)

s3fs.core.S3FileSystem._call_s3 = stop
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("upload_part*.tar", 4),
        pytest.param("upload_part*.tar", 1, marks=pytest.mark.slow),
        pytest.param("put_object*.arrow", 2, marks=pytest.mark.slow),
        pytest.param("create_multipart_upload*.tar", 3, marks=pytest.mark.slow),
        pytest.param("complete_multipart_upload*.tar", 2, marks=pytest.mark.slow),
        pytest.param("put_object*unit-000001.json", 1, marks=pytest.mark.slow),
        pytest.param("put_object*dataset.json", 1, marks=pytest.mark.slow),
        pytest.param("put_object*plan.json", 1, marks=pytest.mark.slow),
    ],
)
def test_a_build_killed_while_it_uploads_leaves_nothing_half_and_the_next_finishes(
    store: ObjectStore,
    asked: BuildRequest,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    number: int,
) -> None:
    # Toy shards are far smaller than the pieces that S3 takes.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    verb = ["build", "--source", "ssv2", "--raw", asked.raw, "--out", str(asked.out), "--workers", "1"]
    command = [sys.executable, "-c", _KILLED, point, str(number), *verb, "--set", "unit_bytes=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        os.kill(process.pid, signal.SIGKILL)
    check_nothing_half(found(store, asked), undisturbed)
    build(asked)
    assert found(store, asked) == undisturbed
    assert verify(asked.folder).problems == ()


def test_a_store_that_goes_away_under_a_build_ends_it_in_one_line_and_the_next_run_goes_on(
    store: ObjectStore, asked: BuildRequest, undisturbed: dict[str, bytes]
) -> None:
    with ExitStack() as stack:
        listeners = Listeners(on_unit=lambda done: stack.enter_context(store.stopped()))
        with pytest.raises(StorageError, match=r"^--raw s3://.*run the same command again") as raised:
            build(asked, listeners=listeners)
    assert "\n" not in str(raised.value)
    written = found(store, asked)
    check_nothing_half(written, undisturbed)
    assert status(asked.folder).num_done == 1
    build(asked)
    assert found(store, asked) == undisturbed


@pytest.mark.parametrize(
    "ending",
    [
        ".tar",
        "dataset.json",
        pytest.param(".arrow", marks=pytest.mark.slow),
        pytest.param("unit-000001.json", marks=pytest.mark.slow),
        pytest.param("stats.json", marks=pytest.mark.slow),
    ],
)
def test_an_upload_that_breaks_off_ends_the_build_and_leaves_nothing_half(
    store: ObjectStore,
    asked: BuildRequest,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: str,
) -> None:
    s3fs = pytest.importorskip("s3fs.core")
    call = s3fs.S3FileSystem._call_s3

    async def break_off(fs: object, method: str, *args: object, **kwargs: object) -> object:
        if method == "put_object" and str(kwargs["Key"]).endswith(ending):
            raise ConnectionResetError("Connection reset by peer")
        return await call(fs, method, *args, **kwargs)

    verb = ["build", "--source", "ssv2", "--raw", asked.raw, "--out", str(asked.out), "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", break_off)
        # Workers of the command would have clients of their own.
        patch.setattr(builder, "LocalEngine", lambda **options: builder.InlineEngine())
        assert main([*verb, "--set", "unit_bytes=1"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vita-data build:")]
    assert len(told) == 1
    assert str(asked.folder) in told[0]
    assert "Connection reset by peer" in told[0]
    check_nothing_half(found(store, asked), undisturbed)
    build(asked)
    assert found(store, asked) == undisturbed


def no_credentials() -> AbstractContextManager[None]:
    return environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (unreachable, "Could not connect to the endpoint URL"),
        (refusing_credentials, "access denied"),
        (no_credentials, "Unable to locate credentials"),
    ],
)
@pytest.mark.parametrize("side", ["raw", "out"])
def test_a_store_that_cannot_be_used_is_one_line_and_exit_1(
    side: str,
    fault: Callable[[], AbstractContextManager[None]],
    said: str,
    asked: BuildRequest,
    toy_raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raw = asked.raw if side == "raw" else str(toy_raw / "ssv2")
    out = str(asked.out) if side == "out" else str(tmp_path)
    with fault():
        assert main(["build", "--source", "ssv2", "--raw", raw, "--out", out]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vita-data build: {'--raw ' + raw if side == 'raw' else out}")
    assert said in line


@pytest.mark.parametrize("side", ["raw", "out"])
def test_a_bucket_that_is_not_there_is_one_line_and_exit_1(
    side: str, toy_raw: Path, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = "s3://absent-bucket/x" if side == "raw" else str(toy_raw / "ssv2")
    out = "s3://absent-bucket/x" if side == "out" else str(tmp_path)
    assert main(["build", "--source", "ssv2", "--raw", raw, "--out", out]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vita-data build: ")
    assert "s3://absent-bucket/x" in line
    assert "no" in line
    assert "bucket" in line


def test_a_damaged_object_fails_alone_and_is_read_again_on_request(
    toy_raw: Path, store: ObjectStore, undisturbed: dict[str, bytes]
) -> None:
    bucket = store.make_bucket()
    store.upload(toy_raw / "ssv2", f"{bucket}/raw")
    video = next(path for path in sorted((toy_raw / "ssv2").rglob("*.webm")))
    address = f"{bucket}/raw/{video.relative_to(toy_raw / 'ssv2')}"
    store.put(address, bytes(video.stat().st_size))
    asked = request("ssv2", f"{bucket}/raw", f"{bucket}/out", "unit_bytes=1")
    (failed,) = build(asked).failed
    assert failed.id in address
    store.put(address, video.read_bytes())
    assert build(replace(asked, retry_failed=True)).failed == ()
    assert found(store, asked) == undisturbed


def test_verify_says_that_the_store_went_away(
    store: ObjectStore, asked: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(asked)
    card = read_card(asked.folder)
    monkeypatch.setattr("vita_data.shards.verify.read_card", lambda folder: card)
    with store.stopped(), pytest.raises(StorageError, match=rf"^{asked.folder}.*run the same command again"):
        verify(asked.folder)
