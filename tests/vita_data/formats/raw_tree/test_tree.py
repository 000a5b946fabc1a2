"""A raw tree in an object store reads as one on a disk does, with few requests and without whole downloads."""

import errno
import gc
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.object_store import ObjectStore, environment, refusing_credentials, unreachable
from tests.raw_trees import LFS_POINTER
from vita_data import sources
from vita_data.errors import RequestError, SourceError, StorageError, VitaDataError
from vita_data.formats.hdf5.opener import open_hdf5
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset
from vita_data.formats.rlds.tfrecord import stream_records, write_records
from vita_data.sources.ego4d.json_files import load_json, parse_metadata

FILES = {
    "top.json": b"{}",
    "a/one.bin": bytes(range(256)),
    "a/two.txt": b"two",
    "a/b/one.bin": b"deeper",
    "a[1]/one.bin": b"odd name",
    "lfs/x.hdf5": LFS_POINTER,
    "lfs/1.0.0/dataset_info.json": LFS_POINTER,
    # what desktops, programs, macOS and file servers leave beside the data
    ".Trash-1000/one.bin": b"thrown away",
    "a/.rsync-partial/one.bin": b"half",
    "#recycle/one.bin": b"thrown away",
    "a/._one.bin": b"\x00\x05\x16\x07",
    ".DS_Store": b"\x00\x00\x00\x01Bud1",
    "a/.DS_Store": b"\x00\x00\x00\x01Bud1",
    "__MACOSX/one.bin": b"\x00\x05\x16\x07",
    "a/.AppleDouble/one.bin": b"\x00\x05\x16\x07",
    "@eaDir/one.bin": b"copy",
}
PATTERNS = ["*", "*/*", "*/one.bin", "a/*", "a/*.bin", "a/two.txt", "a/absent", "*/b/one.bin", "a[[]1]/*", "x/*", "a/b"]


@pytest.fixture(scope="module")
def trees(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("trees") / "raw"
    bucket = store.make_bucket()
    for name, data in {**FILES, "../beside.txt": b"beside"}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        store.put(f"{bucket}/{os.path.normpath(f'raw/{name}')}", data)
    # What some tools leave where a folder was made: an empty object that bears the folder's name.
    store.put(f"{bucket}/raw/a/", b"")
    return {"disk": str(root), "store": f"{bucket}/raw"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmpdir"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_trees_list_the_same(trees: dict[str, str], pattern: str) -> None:
    found = FsspecTree(trees["store"]).glob(pattern)
    assert found == FsspecTree(trees["disk"]).glob(pattern)
    assert FsspecTree(f"{trees['store']}/").glob(pattern) == found


@pytest.mark.parametrize("kind", ["disk", "store"])
def test_what_systems_leave_in_folders_is_no_raw_file(trees: dict[str, str], kind: str) -> None:
    tree = FsspecTree(trees[kind])
    assert tree.glob("*") == ["a", "a[1]", "lfs", "top.json"]
    assert tree.glob("*/*one.bin") == ["a/one.bin", "a[1]/one.bin"]
    assert tree.glob("a/*") == ["a/b", "a/one.bin", "a/two.txt"]
    assert tree.glob("a/*/one.bin") == ["a/b/one.bin"]


@pytest.mark.parametrize("kind", ["disk", "store"])
def test_what_a_file_really_is_is_named_wherever_it_lies(trees: dict[str, str], kind: str) -> None:
    with FsspecTree(trees[kind]) as tree, tree.open("lfs/x.hdf5") as opened:
        openers: list[Callable[[], object]] = [
            lambda: open_hdf5(tree.local_path("lfs/x.hdf5"), name="x").__enter__(),
            lambda: open_hdf5(opened, name="x").__enter__(),
            lambda: open_dataset(tree, "lfs/1.0.0"),
            lambda: list(stream_records(lambda: tree.open("lfs/x.hdf5"), name="x")),
            lambda: load_json(tree, "lfs/1.0.0/dataset_info.json", parse_metadata),
        ]
        for read in openers:
            with pytest.raises(VitaDataError, match=r"Git LFS pointer.*git lfs pull"):
                read()


def test_both_trees_read_the_same(trees: dict[str, str]) -> None:
    for tree in (FsspecTree(trees["disk"]), FsspecTree(trees["store"])):
        assert [tree.exists(path) for path in ("a", "a/b", "a/one.bin", "a/on", "a/none")] == [True] * 3 + [False] * 2
        assert tree.exists("../beside.txt")
        assert tree.read_bytes("../beside.txt") == b"beside"
        assert not tree.exists("../../../../nothing-above-a-bucket")
        for path, data in FILES.items():
            assert tree.size(path) == len(data)
            assert tree.read_bytes(path) == data
            with tree.open(path, block_bytes=7) as file:
                assert file.read(3) + file.read() == data
                assert file.seek(-min(2, len(data)), os.SEEK_END) == max(len(data) - 2, 0)
                assert file.read(100) == data[-2:]
                assert file.read(1) == b""
            assert Path(tree.local_path(path)).read_bytes() == data


@pytest.mark.parametrize("kind", ["disk", "store"])
def test_an_absent_file_is_absent_and_no_fault_of_the_store(trees: dict[str, str], kind: str) -> None:
    tree = FsspecTree(trees[kind])
    for call in (tree.size, tree.read_bytes, tree.open):
        with pytest.raises(FileNotFoundError, match="No such file"):
            call("a/none")
    assert not Path(tree.local_path("a/none")).exists()
    with pytest.raises(SourceError, match=r"^a/none: cannot be read \(the file does not exist\); fetch"):
        next(stream_records(lambda: tree.open("a/none"), name="a/none"))


def test_a_copy_is_made_once_and_removed_when_let_go(trees: dict[str, str], temporary: Path) -> None:
    with FsspecTree(trees["store"]) as tree:
        first = tree.local_path("a/one.bin")
        written = os.stat(first).st_mtime_ns
        assert tree.local_path("a/one.bin") == first
        assert os.stat(first).st_mtime_ns == written
        assert Path(first).suffix == ".bin"
        tree.let_go()
        assert not [path for path in temporary.rglob("*") if path.is_file()]
        assert Path(tree.local_path("a/one.bin")).read_bytes() == FILES["a/one.bin"]
    assert not list(temporary.iterdir())


def test_a_tree_that_is_not_closed_removes_its_copies_too(trees: dict[str, str], temporary: Path) -> None:
    tree = FsspecTree(trees["store"])
    tree.local_path("a/one.bin")
    assert list(temporary.iterdir())
    del tree
    gc.collect()
    assert not list(temporary.iterdir())


def test_a_copy_that_breaks_off_is_none(
    trees: dict[str, str], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = FsspecTree(trees["store"])

    def break_off(remote: str, local: str, **_: object) -> None:
        Path(local).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree._fs, "get_file", break_off)
    with pytest.raises(StorageError, match=rf"{trees['store']}, a/one.bin, copied to {temporary}.*: No space left"):
        tree.local_path("a/one.bin")
    monkeypatch.undo()
    assert Path(tree.local_path("a/one.bin")).read_bytes() == FILES["a/one.bin"]


@pytest.mark.parametrize("fault", [unreachable, refusing_credentials])
def test_a_store_that_ceases_to_answer_is_said_so_and_blames_no_file(
    trees: dict[str, str], fault: Callable[[], AbstractContextManager[None]]
) -> None:
    tree = FsspecTree(trees["store"])
    file = tree.open("a/one.bin")
    with fault():
        tree._fs._s3 = None  # the client of this tree is older than the fault
        calls: list[Callable[[], object]] = [
            lambda: FsspecTree(trees["store"]),
            lambda: tree.glob("*"),
            lambda: tree.exists("a/two.txt"),
            lambda: tree.size("a/two.txt"),
            lambda: tree.read_bytes("a/two.txt"),
            lambda: tree.open("a/two.txt"),
            lambda: tree.local_path("a/two.txt"),
            lambda: file.read(10),
            lambda: next(stream_records(lambda: file, name="a/one.bin")),
        ]
        for call in calls:
            with pytest.raises(StorageError, match=rf"^--raw {trees['store']}.*run the same command again") as raised:
                call()
            assert "\n" not in str(raised.value)


def test_what_is_no_folder_of_a_bucket_is_refused(trees: dict[str, str]) -> None:
    bucket = trees["store"].removeprefix("s3://").split("/")[0]
    with pytest.raises(
        RequestError, match=f"--raw s3://{bucket}/none: the folder does not exist in the bucket {bucket}"
    ):
        FsspecTree(f"s3://{bucket}/none")
    with pytest.raises(RequestError, match=r"top\.json is a file"):
        FsspecTree(f"{trees['store']}/top.json")
    with pytest.raises(StorageError, match="the bucket absent-bucket does not exist"):
        FsspecTree("s3://absent-bucket/raw")
    with pytest.raises(RequestError, match="the bucket is missing"):
        FsspecTree("s3://")
    with environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""), pytest.raises(StorageError, match="credentials"):
        FsspecTree(trees["store"])


# ------------------------------------------------------------------------------------------- how much is asked for


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests that are sent, by their kind, and the bytes that come back."""
    counts: Counter[str] = Counter()
    s3fs = pytest.importorskip("s3fs.core")
    call, fetch = s3fs.S3FileSystem._call_s3, s3fs._inner_fetch

    async def counted(fs: object, method: str, *args: object, **kwargs: object) -> object:
        counts[method] += 1
        if method == "get_object" and "Range" not in kwargs:
            counts[f"whole {PurePosixPath(str(kwargs['Key'])).suffix}"] += 1
        return await call(fs, method, *args, **kwargs)

    async def measured(*args: object, **kwargs: object) -> bytes:
        data = await fetch(*args, **kwargs)
        counts["bytes in ranges"] += len(data)
        return data

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr(s3fs, "_inner_fetch", measured)
    return counts


def test_sizes_come_with_the_listing(store: ObjectStore, requests: Counter[str]) -> None:
    bucket = store.make_bucket()
    for number in range(40):
        store.put(f"{bucket}/raw/videos/{number}.webm", b"x" * number)
    tree = FsspecTree(f"{bucket}/raw")
    requests.clear()
    assert [tree.size(path) for path in sorted(tree.glob("videos/*"), key=lambda path: int(path[7:-5]))] == [*range(40)]
    assert all(tree.exists(f"videos/{number}.webm") for number in range(40))
    assert requests == {"list_objects_v2": 1}


def test_a_folder_is_not_listed_for_one_file_in_it(store: ObjectStore, requests: Counter[str]) -> None:
    bucket = store.make_bucket()
    for number in range(3):
        store.put(f"{bucket}/task/training/{number}.npz", b"x")
    store.put(f"{bucket}/task/training/index.npy", b"x")
    tree = FsspecTree(bucket)
    requests.clear()
    assert tree.glob("*/training/index.npy") == ["task/training/index.npy"]
    assert requests == {"list_objects_v2": 1, "head_object": 1}


def test_a_large_tfrecord_is_streamed_in_blocks(
    store: ObjectStore, tmp_path: Path, temporary: Path, requests: Counter[str]
) -> None:
    records = [os.urandom(size) for size in (0, 5, 1_000_000, 2_500_000, 17)] * 3
    write_records(tmp_path / "f", records)
    bucket = store.make_bucket()
    store.put(f"{bucket}/f", (tmp_path / "f").read_bytes())
    tree = FsspecTree(bucket)
    requests.clear()
    stream = stream_records(lambda: tree.open("f", block_bytes=1 << 20), name="f")
    assert [next(stream), next(stream)] == records[:2]
    assert requests["bytes in ranges"] < 2 << 20
    assert list(stream) == records[2:]
    assert requests["bytes in ranges"] < 1.01 * (tmp_path / "f").stat().st_size
    assert requests["get_object"] <= len(records)
    assert not list(temporary.iterdir())


_PLANNED_BYTES = {"libero": 8 << 16, "ego4d": 1 << 20}
"""LIBERO counts demonstrations, Ego4D streams its tables."""


@pytest.mark.parametrize("name", sources.names())
def test_planning_downloads_no_episode(name: str, toy_raw: Path, store: ObjectStore, requests: Counter[str]) -> None:
    bucket = store.make_bucket()
    store.upload(toy_raw / name, f"{bucket}/raw")
    tree, source = FsspecTree(f"{bucket}/raw"), sources.load(name)
    parts = source.parts(tree, source.Settings())
    assert parts == source.parts(FsspecTree(str(toy_raw / name)), source.Settings())
    whole = {kind.removeprefix("whole ") for kind in requests if kind.startswith("whole ")}
    assert whole <= {".json", ".jsonl", ".npy", ".csv", ".txt", ".ini"}
    assert requests["bytes in ranges"] <= _PLANNED_BYTES.get(name, 0)
    assert requests["list_objects_v2"] + requests["head_object"] <= 60


def test_a_folder_that_may_not_be_listed_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "02" / "scene").mkdir(parents=True)
    look_at = os.stat

    def refuse(path: str, **options: Any) -> os.stat_result:
        if path == f"{tmp_path}/02/.":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return look_at(path, **options)

    monkeypatch.setattr("os.stat", refuse)  # the tests may run as root, who may look at everything
    with pytest.raises(StorageError, match=r"cannot open .*02: permission denied"):
        FsspecTree(str(tmp_path)).glob("*/*/*.hdf5")
