"""Entries of an HDF5 file whose heap was never written are refused; HDF5 itself would read them without end."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import EpisodeError, SourceError
from vita_data.formats.hdf5.frames import any_entry
from vita_data.formats.hdf5.opener import open_hdf5
from vita_data.formats.hdf5.rows import DatasetRows

NUM_ROWS, ENTRY_BYTES = 12, 40_000
"""Two entries are more than HDF5 puts into one heap."""
HEADER_BYTES = 16
LAYOUTS: dict[str, dict[str, object]] = {
    "contiguous": {},
    "chunked": {"chunks": (5,)},
    "filtered": {"chunks": (5,), "compression": "gzip", "shuffle": True},
}


def entry(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(1, 255, ENTRY_BYTES, np.uint8)


def write(path: Path, layout: str, **options: int) -> None:
    with h5py.File(path, "w", locking=False, **options) as file:
        images = file.create_dataset("images", (NUM_ROWS,), h5py.vlen_dtype(np.uint8), **LAYOUTS[layout])
        for row in range(NUM_ROWS):
            images[row] = entry(row)


def heaps(path: Path) -> list[int]:
    """Places behind the headers of the heaps, which hold one entry each."""
    return [found.end() - 4 + HEADER_BYTES for found in re.finditer(b"GCOL", path.read_bytes())]


def erase(path: Path, begin: int, end: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(len(data[begin:end]))
    path.write_bytes(data)


def rows_of(path: Path) -> DatasetRows:
    with open_hdf5(str(path), name="x.hdf5") as file:
        return DatasetRows(file["images"], name="x.hdf5")


@pytest.mark.parametrize("options", [{}, {"userblock_size": 512}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_entries_are_read_and_one_in_an_unwritten_heap_is_refused(
    layout: str, options: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "x.hdf5"
    write(path, layout, **options)
    rows = rows_of(path)
    assert all(np.array_equal(found, entry(row)) for row, found in enumerate(rows.read(range(NUM_ROWS))))
    erase(path, heaps(path)[7], heaps(path)[7] + HEADER_BYTES)
    for row in range(NUM_ROWS):
        if row == 7 or layout == "filtered":
            with pytest.raises(EpisodeError, match=r"x\.hdf5: /images cannot be read \(the file is damaged\)"):
                list(rows.read([row]))
        else:
            assert np.array_equal(next(rows.read([row])), entry(row))


def test_a_camera_whose_first_entry_was_never_written_counts_as_one(tmp_path: Path) -> None:
    """Whoever reads its frames says what is wrong; to ask for the entry would not end."""
    path = tmp_path / "x.hdf5"
    write(path, "contiguous")
    erase(path, heaps(path)[0], heaps(path)[0] + HEADER_BYTES)
    with h5py.File(path, "r", locking=False) as file:
        assert any_entry(file["images"], lambda data: False)


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_whose_end_was_never_written_is_told_so(beside: bool, tmp_path: Path) -> None:
    """Its attributes would be read without end, too."""
    path = tmp_path / "x.hdf5"
    write(path, "contiguous")
    erase(path, heaps(path)[7])
    (tmp_path / ("x.hdf5.aria2" if beside else "other")).touch()
    told = "an unfinished download" if beside else "a part of it was never written (all zeros)"
    with pytest.raises(SourceError, match=rf"^x\.hdf5: cannot be opened \({re.escape(told)}"):
        rows_of(path)


def test_a_whole_file_that_ends_in_zeros_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    write(path, "contiguous")
    with h5py.File(path, "r+", locking=False) as file:
        file["black"] = np.zeros(4096, np.uint8)
    assert not any(path.read_bytes()[-512:])
    assert np.array_equal(next(rows_of(path).read([3])), entry(3))
