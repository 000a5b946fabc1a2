"""Ranges of objects through obstore: the bytes of s3fs, its credentials and its errors."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upath import UPath

from tests.object_store import ObjectStore, running_store
from vita_data.errors import StorageError
from vita_data.storage import object_ranges
from vita_data.storage.files import open_path, read_ranges
from vita_data.storage.object_ranges import read_range

pytest.importorskip("obstore")
DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with running_store() as running:
        yield running


@pytest.fixture
def path(store: ObjectStore) -> UPath:
    bucket = store.make_bucket()
    store.put(f"{bucket}/folder/with space+ü/a.tar", DATA)
    found = open_path(f"{bucket}/folder/with space+ü/a.tar")
    assert isinstance(found, UPath)
    return found


@pytest.fixture
def silent_s3fs(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs no longer reads ranges."""

    def refuse(*_: object, **__: object) -> list[bytes]:
        raise AssertionError("read by s3fs")

    monkeypatch.setattr(type(path.fs), "cat_ranges", refuse)


@pytest.mark.usefixtures("silent_s3fs")
@pytest.mark.parametrize(("offset", "size"), [(0, 10), (1000, 512), (len(DATA) - 4, 4), (len(DATA) - 4, 100)])
def test_obstore_reads_the_range_and_what_there_is_of_it_at_the_end(path: UPath, offset: int, size: int) -> None:
    assert read_range(path, offset, size) == DATA[offset : offset + size]


def test_nothing_is_behind_the_end_however_often_it_is_asked(path: UPath, caplog: pytest.LogCaptureFixture) -> None:
    assert [read_range(path, len(DATA) + 7, 5) for _ in range(5)] == [b""] * 5
    assert read_range(path, 3, 0) == b""
    assert not caplog.records


def test_a_missing_object_is_s3fs_to_report(path: UPath) -> None:
    def error_of(read: Callable[[], object]) -> str:
        with pytest.raises((FileNotFoundError, StorageError)) as raised:
            read()
        return str(raised.value)

    gone = path.parent / "gone.tar"
    assert error_of(lambda: read_range(gone, 0, 4)) == error_of(lambda: read_ranges(gone, [(0, 4)]))


def test_obstore_signs_as_s3fs_does(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = object_ranges._Signer(path.fs)()
    assert (signed["access_key_id"], signed["secret_access_key"]) == ("testing", "testing")
    assert signed["expires_at"].tzinfo is not None  # type: ignore[attr-defined]


def test_what_obstore_cannot_read_s3fs_reads_and_this_is_said_once(
    path: UPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def fail(*_: object, **fields: object) -> bytes:
        asked.append(fields)
        raise OSError("no such certificate")

    monkeypatch.setattr("obstore.get_range", fail)
    with caplog.at_level(logging.WARNING):
        assert [read_range(path, 4, 4) for _ in range(6)] == [DATA[4:8]] * 6
    assert len(asked) == 3
    (record,) = caplog.records
    assert "no such certificate" in record.message
    assert "slower" in record.message


def test_without_obstore_s3fs_reads(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_ranges, "find_spec", lambda name: None)
    assert read_range(path, 4, 4) == DATA[4:8]
    assert None in object_ranges._clients.values()


def test_a_file_on_a_disk_is_read_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    assert read_range(tmp_path / "a", 10, 5) == DATA[10:15]
