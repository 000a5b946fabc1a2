"""A sparse file is searched where it holds bytes: a declared terabyte costs neither time nor memory."""

import os
from pathlib import Path

import pytest

from vita_data.formats.extents import BLOCK_BYTES, stored_blocks
from vita_data.formats.hdf5.heap import require_written
from vita_data.formats.raw_tree.file_head import require_readable

TERABYTE = 1 << 40


def blocks(path: Path, overlap: int = 0) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return list(stored_blocks(file.fileno(), path.stat().st_size, overlap=overlap))


def test_the_stored_bytes_of_a_sparse_terabyte_are_found(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for at in (0, 1 << 30, TERABYTE - 4):
            file.seek(at)
            file.write(b"GCOL")
    found = blocks(path)

    assert sum(len(data) for _, data in found) < 1 << 20
    assert [at + data.index(b"GCOL") for at, data in found] == [0, 1 << 30, TERABYTE - 4]


def test_a_word_across_two_blocks_is_in_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(bytes(BLOCK_BYTES - 2) + b"GCOL" + os.urandom(100))

    assert [at for at, data in blocks(path, overlap=3) if b"GCOL" in data] == [0]
    assert not [at for at, data in blocks(path) if b"GCOL" in data]
    assert b"".join(data for _, data in blocks(path)) == path.read_bytes()


@pytest.mark.parametrize("size", [0, TERABYTE])
def test_a_file_that_holds_nothing_is_checked_at_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "empty"
    with path.open("wb") as file:
        file.truncate(size)

    assert blocks(path) == []
    require_written(str(path))
    require_readable(str(path), name="empty")
