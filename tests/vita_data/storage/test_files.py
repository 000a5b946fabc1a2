"""Files on a disk and in an object store: whole or absent, and one clear line where a store does not do its part."""

import os
import pickle
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from upath import UPath

from tests.object_store import ObjectStore, environment, refusing_credentials, unreachable
from vita_data.errors import RequestError, StorageError
from vita_data.storage.files import (
    AnyPath,
    list_files,
    open_path,
    publish,
    read_files,
    read_ranges,
    remove,
    storage_errors,
    temporary_for,
    write_atomically,
)

PIECE_BYTES = 5 << 20
"""The smallest piece that S3 takes; s3fs's own is 50 MiB, and a file of two or more is uploaded in pieces."""


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, store: ObjectStore) -> AnyPath:
    return tmp_path if request.param == "disk" else open_path(store.make_bucket()) / "out"


def test_a_pipe_or_device_in_a_strangers_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "device"):
        with pytest.raises(StorageError, match=f"^{path}: expected a file, found a named pipe or a device"):
            read_files([path])
    with pytest.raises(IsADirectoryError):
        read_files([tmp_path])


def test_the_same_calls_do_the_same_on_a_disk_and_in_a_store(folder: AnyPath) -> None:
    assert list_files(folder / "absent") == {}
    write_atomically(folder / "a", b"first")
    write_atomically(folder / "a", b"0123456789")
    write_atomically(folder / "b", b"")
    assert {name: found.num_bytes for name, found in list_files(folder).items()} == {"a": 10, "b": 0}
    assert read_files([folder / "b", folder / "a"]) == [b"", b"0123456789"]
    assert read_ranges(folder / "a", [(7, 2), (0, 3), (2, 0), (8, 10), (10, 1), (99, 5)]) == [
        b"78", b"012", b"", b"89", b"", b""
    ]  # fmt: skip
    remove(folder / "a")
    remove(folder / "a")
    assert list(list_files(folder)) == ["b"]
    with pytest.raises(FileNotFoundError):
        read_files([folder / "a"])
    with pytest.raises(FileNotFoundError):
        read_ranges(folder / "a", [(0, 1)])


def test_a_time_stamp_tells_when_a_file_was_written(folder: AnyPath) -> None:
    write_atomically(folder / "a", b"1")
    assert list_files(folder)["a"].mtime_s > 1.7e9


def test_what_another_process_writes_is_seen_at_once(store: ObjectStore) -> None:
    bucket = store.make_bucket()
    folder = open_path(bucket) / "out"
    assert list_files(folder) == {}
    store.put(f"{bucket}/out/a", b"1")
    assert list(list_files(folder)) == ["a"]
    store.put(f"{bucket}/out/a", b"22")
    assert list_files(folder)["a"].num_bytes == 2


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize: PIECE_BYTES)


def big_file(path: AnyPath) -> Path:
    temporary = temporary_for(path)
    with temporary.open("wb") as file:
        file.truncate(2 * PIECE_BYTES + 1)
    return temporary


@pytest.mark.usefixtures("small_pieces")
def test_a_large_file_is_uploaded_in_pieces_and_appears_when_the_last_has_arrived(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = store.make_bucket()
    path = open_path(bucket) / "shard.tar"
    assert isinstance(path, UPath)
    seen: list[tuple[str, list[str]]] = []
    call = path.fs._call_s3

    async def look(method: str, *args: object, **kwargs: object) -> object:
        result = await call(method, *args, **kwargs)
        seen.append((method, list(store.objects(bucket))))
        return result

    monkeypatch.setattr(path.fs, "_call_s3", look)
    temporary = big_file(path)
    publish(temporary, path)
    steps = [(method, names) for method, names in seen if "upload" in method]
    assert [method for method, _ in steps] == [
        "create_multipart_upload",
        "upload_part",
        "upload_part",
        "upload_part",
        "complete_multipart_upload",
    ]
    assert all(not names for _, names in steps[:-1])
    assert list_files(path.parent)["shard.tar"].num_bytes == 2 * PIECE_BYTES + 1
    assert not temporary.exists()


@pytest.mark.usefixtures("small_pieces")
def test_an_upload_that_breaks_off_leaves_nothing(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = store.make_bucket()
    path = open_path(bucket) / "shard.tar"
    assert isinstance(path, UPath)
    call, num_parts = path.fs._call_s3, 0

    async def break_off(method: str, *args: object, **kwargs: object) -> object:
        nonlocal num_parts
        num_parts += method == "upload_part"
        if num_parts == 2:
            raise ConnectionResetError("Connection reset by peer")
        return await call(method, *args, **kwargs)

    monkeypatch.setattr(path.fs, "_call_s3", break_off)
    temporary = big_file(path)
    with pytest.raises(StorageError, match=r"shard\.tar: Connection reset by peer; fix this and run the same command"):
        publish(temporary, path)
    monkeypatch.undo()
    temporary.unlink()
    assert store.objects(bucket) == {}


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(tmp_path / "a", data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_files([tmp_path / "a"])[0] in contents
    assert list(list_files(tmp_path)) == ["a"]


def no_credentials() -> AbstractContextManager[None]:
    return environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")


CALLS: dict[str, Callable[[AnyPath], object]] = {
    "write": lambda path: write_atomically(path, b"1"),
    "publish": lambda path: publish(_small_file(path), path),
    "list": lambda path: list_files(path.parent),
    "read": lambda path: read_files([path]),
    "ranges": lambda path: read_ranges(path, [(0, 1)]),
    "remove": remove,
}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (unreachable, "Could not connect to the endpoint URL"),
        (refusing_credentials, "access denied .*credentials"),
        (no_credentials, "Unable to locate credentials"),
    ],
)
def test_a_store_that_refuses_is_one_line_with_the_address(
    store: ObjectStore, fault: Callable[[], AbstractContextManager[None]], said: str
) -> None:
    bucket = store.make_bucket()
    with fault():
        for call in CALLS.values():
            with pytest.raises(StorageError, match=rf"^{bucket}/out.*: {said}.*run the same command again") as raised:
                call(open_path(bucket) / "out" / "a")
            assert "\n" not in str(raised.value)
            assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def _small_file(path: AnyPath) -> Path:
    temporary = temporary_for(path)
    temporary.write_bytes(b"1")
    return temporary


def test_an_absent_bucket_is_empty_to_read_and_an_error_to_write(store: ObjectStore) -> None:
    folder = open_path("s3://absent-bucket/out")
    assert list_files(folder) == {}
    with pytest.raises(StorageError, match="s3://absent-bucket/out/a: the bucket does not exist"):
        write_atomically(folder / "a", b"1")


@pytest.mark.parametrize("address", ["foo://x", "s3://", "s3:/bucket/x", "memory://x", "http://127.0.0.1:9/x"])
def test_an_address_that_is_no_store_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=address):
        open_path(address)


def test_a_file_address_is_a_local_path(tmp_path: Path) -> None:
    assert open_path(f"file://{tmp_path}") == tmp_path
    assert open_path(str(tmp_path)) == tmp_path


def test_what_no_store_raised_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        _ = 1 // 0
    with pytest.raises(StorageError, match="No space left"), storage_errors(tmp_path):
        raise OSError(28, "No space left on device")
