"""Rows of image datasets in HDF5: read alone, after the finding handle was closed, with errors that name the key."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import simplejpeg

from vita_data.errors import EpisodeError
from vita_data.formats.hdf5.frames import DepthDataset, EncodedDataset
from vita_data.types import JpegFrame, ResizeMode


def jpeg(level: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.full((16, 16, 3), level, np.uint8), 90, "RGB"))


@pytest.fixture
def path(tmp_path: Path) -> str:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        images = file.create_dataset("images", (4,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(4):
            images[row] = np.frombuffer(jpeg(50 * row), np.uint8)
        file["depth"] = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 3), np.float32)
        file["bad"] = np.zeros((4, 2))
    return str(tmp_path / "a.hdf5")


def test_encoded_rows_come_as_stored_after_the_handle_was_closed(path: str) -> None:
    with h5py.File(path) as file:
        stream = EncodedDataset(file["images"], name="a.hdf5")

    assert stream.num_frames == 4
    assert list(stream.read([1, 3], ResizeMode.PLAIN)) == [JpegFrame(jpeg(50)), JpegFrame(jpeg(150))]


def test_depth_rows_come_in_metres(path: str) -> None:
    with h5py.File(path) as file:
        stream = DepthDataset(file["depth"], name="a.hdf5")

    assert [float(metres.mean()) for metres in stream.read([0, 2])] == [0.0, 2.0]


def test_datasets_of_another_kind_are_refused(path: str) -> None:
    with h5py.File(path) as file:
        with pytest.raises(EpisodeError, match=r"/bad is float64 \(4, 2\), expected uint8 of any length"):
            EncodedDataset(file["bad"], name="a.hdf5")
        with pytest.raises(EpisodeError, match=r"expected float32 \[T, h, w\]"):
            DepthDataset(file["bad"], name="a.hdf5")


def test_a_file_that_became_unreadable_is_named(path: str) -> None:
    with h5py.File(path) as file:
        stream = EncodedDataset(file["images"], name="a.hdf5")
    Path(path).write_bytes(Path(path).read_bytes()[:600])
    with pytest.raises(EpisodeError, match=r"a\.hdf5: /images cannot be read"):
        list(stream.read([0], ResizeMode.PLAIN))
