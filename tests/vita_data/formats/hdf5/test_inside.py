"""HDF5 files that point to other files, or declare what they do not hold: refused in words, without opening those."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import EpisodeError, SourceError
from vita_data.formats.hdf5.inside import read_attribute
from vita_data.formats.hdf5.opener import DatasetStream, demo_names, find_dataset, open_hdf5, read_floats
from vita_data.types import ResizeMode


def secret(folder: Path) -> Path:
    path = folder / "outside.hdf5"
    with h5py.File(path, "w") as file:
        file["x"] = np.full((4, 7), 42.0)
    return path


def pipe(folder: Path) -> Path:
    """Whoever opens it waits for ever."""
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def external_link(file: h5py.File, other: Path) -> None:
    file["x"] = h5py.ExternalLink(other, "/x")


def link_to_an_external_link(file: h5py.File, other: Path) -> None:
    file["inner/y"] = h5py.ExternalLink(other, "/x")
    file["x"] = h5py.SoftLink("inner/y")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("x", shape=(4, 7), dtype="f8", external=[(str(other), 0, 4 * 7 * 8)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4, 7), maxshape=(None, 7), dtype="f8")
    layout[:] = h5py.VirtualSource(other, "x", shape=(4, 7), maxshape=(None, 7))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("make", [external_link, link_to_an_external_link, external_storage, virtual])
@pytest.mark.parametrize("other", [secret, pipe])
def test_no_other_file_is_read(
    tmp_path: Path, make: Callable[[h5py.File, Path], None], other: Callable[[Path], Path]
) -> None:
    """Before, each of these returned the other file's values as the recording's, or waited for ever."""
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        make(file, other(tmp_path))
    with (
        open_hdf5(str(tmp_path / "a.hdf5"), name="a.hdf5") as file,
        pytest.raises(EpisodeError, match=r"a\.hdf5: .* another file; only data inside the file is read"),
    ):
        read_floats(file, "x", width=7, name="a.hdf5")


def test_demonstrations_in_another_file_are_no_demonstrations(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data"] = h5py.ExternalLink(secret(tmp_path), "/")
    with open_hdf5(str(tmp_path / "a.hdf5"), name="a") as file, pytest.raises(SourceError, match="another file"):
        demo_names(file, name="a")


def test_links_inside_the_file_are_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["deep/x"] = np.ones((2, 7))
        file["way"] = h5py.SoftLink("/deep")
        file["x"] = h5py.SoftLink("way/x")
        file["loop"] = h5py.SoftLink("loop")
    with open_hdf5(str(tmp_path / "a.hdf5"), name="a") as file:
        assert read_floats(file, "x", width=7, name="a").sum() == 14
        with pytest.raises(EpisodeError, match="/loop"):
            find_dataset(file, "loop", name="a")


@pytest.mark.parametrize(
    ("shape", "chunks", "dtype"),
    [
        ((1 << 40, 7), (64, 7), "f8"),
        ((1 << 50,), (64,), h5py.vlen_dtype(np.uint8)),
        ((8, 1 << 20, 1 << 20, 3), (1, 1, 1, 3), np.uint8),
        ((8, 1 << 14, 1 << 15), (1, 1 << 14, 1 << 15), np.uint8),
    ],
)
def test_what_a_dataset_declares_is_compared_with_what_it_stores(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: object
) -> None:
    """Before, memory was asked for these, or rows were counted for ever."""
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("x", shape=shape, chunks=chunks, dtype=dtype)
    with open_hdf5(str(tmp_path / "a.hdf5"), name="a") as file, pytest.raises(EpisodeError, match="/x declares "):
        find_dataset(file, "x", name="a")


def test_a_dataset_too_large_for_vectors_is_not_read_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("x", shape=(900_000, 70), dtype="f8", compression="gzip", chunks=(900_000, 7))
    with open_hdf5(str(tmp_path / "a.hdf5"), name="a") as file, pytest.raises(EpisodeError, match="/x declares 504"):
        read_floats(file, "x", width=70, name="a")


def test_a_large_attribute_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w", libver="latest") as file:
        h5py.h5a.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((1 << 30,)))
    with h5py.File(tmp_path / "a.hdf5") as file, pytest.raises(OSError, match="declares 1073741824 bytes"):
        read_attribute(file, "x")


def test_rows_are_not_read_from_a_file_that_was_replaced(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"] = np.zeros((2, 4, 4, 3), np.uint8)
    with open_hdf5(str(tmp_path / "a.hdf5"), name="a") as file:
        images = DatasetStream(find_dataset(file, "x", name="a"), rows=np.arange(2), name="a")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        external_link(file, secret(tmp_path))
    with pytest.raises(EpisodeError, match="another file"):
        list(images.read([0], ResizeMode.PLAIN))
