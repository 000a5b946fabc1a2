"""Bytes beyond the bound lie in a file without a name and come back as they were; the clip does not show it."""

import os
import weakref

import numpy as np
import pytest

from vita_data.errors import StorageError
from vita_data.normalize import spool
from vita_data.normalize.spool import Spool, SpooledBytes
from vita_data.types import StoredDepth, StoredFrame

BLOBS = [b"a" * 40, b"b" * 70, b"", b"c" * 3, b"d" * 100_000]


def read(kept: bytes | SpooledBytes) -> bytes:
    return kept if isinstance(kept, bytes) else kept.read()


@pytest.mark.parametrize(("max_bytes", "num_in_memory"), [(10**6, 5), (100, 1), (0, 0)])
def test_bytes_come_back_from_memory_and_from_the_file(max_bytes: int, num_in_memory: int) -> None:
    made = Spool(max_bytes)
    kept = [made.keep(blob) for blob in BLOBS]

    assert [read(one) for one in reversed(kept)] == BLOBS[::-1]
    in_memory = [one for one, blob in zip(kept, BLOBS, strict=True) if isinstance(one, bytes) and blob]
    assert len(in_memory) == num_in_memory - (num_in_memory == 5)


def test_the_file_has_no_name_and_is_closed_with_the_last_that_needs_it() -> None:
    made = Spool(0)
    kept = made.keep(b"frame")
    assert isinstance(kept, SpooledBytes)
    handle = made._open().fileno()
    gone = weakref.ref(made)
    del made
    assert kept.read() == b"frame"

    del kept
    assert gone() is None
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(handle)


def test_a_full_disk_ends_the_run_with_the_place_to_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(StorageError, match=r"No space left.*TMPDIR"):
        Spool(0).keep(b"frame")


def test_a_file_that_lost_bytes_is_not_read_as_an_image() -> None:
    made = Spool(0)
    kept = made.keep(b"frame")
    assert isinstance(kept, SpooledBytes)
    os.ftruncate(made._open().fileno(), 2)
    with pytest.raises(StorageError, match="2 of 5 bytes"):
        kept.read()


def test_stored_images_look_alike_wherever_they_lie() -> None:
    metres = np.linspace(0, 2, 256 * 256, dtype=np.float32).reshape(256, 256)
    kept = Spool(0).keep(metres.tobytes())
    assert isinstance(kept, SpooledBytes)
    np.testing.assert_array_equal(StoredDepth(3, kept).metres, metres)
    frame = Spool(0).keep(b"jpeg")
    assert StoredFrame(3, frame).jpeg == StoredFrame(3, b"jpeg").jpeg
