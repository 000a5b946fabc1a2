"""Rows are read in blocks that are bounded, split no chunk, and leave out what is not wanted."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import EpisodeError
from vita_data.formats.hdf5.rows import DatasetRows, blocks

NUM_ROWS, ROW_BYTES = 50, 6 * 4


def grouped(rows: list[int], chunk_rows: int, max_rows: int) -> list[list[int]]:
    return [group for _, group in blocks(rows, chunk_rows=chunk_rows, max_rows=max_rows)]


def test_rows_of_one_chunk_are_read_together_and_neighbours_up_to_the_bound() -> None:
    assert grouped(list(range(10)), 1, 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert grouped(list(range(12)), 5, 10) == [list(range(10)), [10, 11]]
    assert grouped(list(range(12)), 5, 1) == [list(range(5)), list(range(5, 10)), [10, 11]]
    assert grouped([], 5, 10) == []


def test_chunks_without_a_wanted_row_are_left_out() -> None:
    assert grouped([0, 20, 40], 1, 100) == [[0], [20], [40]]
    assert grouped([0, 20, 40], 10, 100) == [[0], [20], [40]]
    assert grouped([0, 20, 40], 16, 100) == [[0, 20, 40]]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    values = np.arange(NUM_ROWS * 6, dtype=np.float32).reshape(NUM_ROWS, 2, 3)
    with h5py.File(tmp_path / "a.hdf5", "w") as made:
        made["plain"] = values
        made.create_dataset("packed", data=values, chunks=(7, 2, 2), compression="gzip")
        own = made.create_dataset("own", (NUM_ROWS,), h5py.vlen_dtype(np.uint8), chunks=(20,))
        for row in range(NUM_ROWS):
            own[row] = np.full(row, row, np.uint8)
    with h5py.File(tmp_path / "a.hdf5") as opened:
        yield opened


@pytest.mark.parametrize("key", ["plain", "packed"])
@pytest.mark.parametrize("rows", [list(range(NUM_ROWS)), [0, 3, 4, 20, 49], [49], []])
def test_values_are_those_of_the_dataset(file: h5py.File, key: str, rows: list[int]) -> None:
    found = list(DatasetRows(file[key], name="a").read(rows, max_bytes=5 * ROW_BYTES))
    assert len(found) == len(rows)
    assert all(np.array_equal(value, file[key][row]) for value, row in zip(found, rows, strict=True))


def test_entries_of_their_own_length_are_read(file: h5py.File) -> None:
    assert [len(entry) for entry in DatasetRows(file["own"], name="a").read([0, 1, 2, 30, 49])] == [0, 1, 2, 30, 49]


def test_no_read_is_larger_than_the_bound_or_a_chunk(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = h5py.Dataset.__getitem__

    def counted(dataset: h5py.Dataset, key: slice) -> np.ndarray:
        sizes.append(key.stop - key.start)
        return plain(dataset, key)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    list(DatasetRows(file["plain"], name="a").read(range(NUM_ROWS), max_bytes=10 * ROW_BYTES))
    assert sizes == [10] * 5
    sizes.clear()
    list(DatasetRows(file["packed"], name="a").read(range(NUM_ROWS), max_bytes=10 * ROW_BYTES))
    assert sizes == [7] * 7 + [1]


def test_a_row_that_is_not_there_is_an_error_that_names_the_key(file: h5py.File) -> None:
    with pytest.raises(EpisodeError, match=r"^a: /plain cannot be read"):
        list(DatasetRows(file["plain"], name="a").read([48, NUM_ROWS]))
