"""The server of the benchmark answers what S3 clients ask."""

from pathlib import Path

import pytest

from pipelines.bench.store.server import answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bucket" / "deep").mkdir(parents=True)
    (tmp_path / "bucket" / "deep" / "a b.tar").write_bytes(b"0123456789")
    return tmp_path


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "body"),
    [
        (b"GET /bucket/deep/a%20b.tar", b"Range: bytes=2-4", b"206", b"234"),
        (b"GET /bucket/deep/a%20b.tar", b"range: bytes=8-99", b"206", b"89"),
        (b"GET /bucket/deep/a%20b.tar", b"Accept: */*", b"200", b"0123456789"),
        (b"HEAD /bucket/deep/a%20b.tar", b"Accept: */*", b"200", b""),
    ],
)
def test_objects_and_ranges_of_them(
    folder: Path, request_line: bytes, headers: bytes, status: bytes, body: bytes
) -> None:
    head, _, found = answer(folder, b"%s HTTP/1.1\r\n%s" % (request_line, headers)).partition(b"\r\n\r\n")

    assert head.split()[1] == status
    assert found == body
    assert (b"Content-Length: %d\r\n" % (10 if request_line.startswith(b"HEAD") else len(body))) in head


def test_a_missing_object_is_404(folder: Path) -> None:
    assert answer(folder, b"GET /bucket/gone HTTP/1.1\r\nAccept: */*").startswith(b"HTTP/1.1 404")


def test_a_listing_has_the_files_and_folders_directly_below(folder: Path) -> None:
    def listed(prefix: bytes) -> bytes:
        return answer(folder, b"GET /bucket?list-type=2&prefix=%s&delimiter=/ HTTP/1.1\r\nAccept: */*" % prefix)

    assert b"<CommonPrefixes><Prefix>deep/</Prefix></CommonPrefixes>" in listed(b"")
    assert b"<Key>deep/a b.tar</Key><Size>10</Size>" in listed(b"deep/")
    assert b"<Key>" not in listed(b"gone/")
