"""Encoded images and depth images of an HDF5 file, read lazily.

For arrays of raw images see `hdf5.DatasetStream`. The source decides which dataset is which camera.
"""

from collections.abc import Callable, Iterator, Sequence

import h5py
import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.hdf5.rows import DAMAGE, DatasetRows, read_slice
from vita_data.types import Float32, JpegFrame, ResizeMode, RgbFrame


def any_entry(images: h5py.Dataset, decodes: Callable[[bytes], bool]) -> bool:
    """Tell whether a camera has any image that decodes; usually the first entry does.

    Entries that are not variable-length byte strings and entries that cannot be read count as images: reading them
    later reports what is wrong.
    """
    if images.ndim == 0:
        return False
    if images.ndim > 1 or images.dtype.kind != "O":
        return len(images) > 0
    try:
        return any(decodes(entry_bytes(read_slice(images, row, row + 1)[0])) for row in range(len(images)))
    except DAMAGE:
        return True


def entry_bytes(entry: object) -> bytes:
    """Return the bytes of an entry, stored either as a byte string or as an array of bytes."""
    return entry if isinstance(entry, bytes) else np.asarray(entry, np.uint8).tobytes()


class EncodedDataset:
    """A dataset of encoded images (variable-length bytes) as a `CameraStream`."""

    def __init__(self, images: h5py.Dataset, *, name: str) -> None:
        """Use entry t as row t.

        Raises:
            EpisodeError: the entries are not variable-length byte strings.
        """
        if images.ndim != 1 or h5py.check_vlen_dtype(images.dtype) != np.uint8:
            raise EpisodeError(f"{name}: {images.name} is {images.dtype} {images.shape}, expected uint8 of any length")
        self._rows, self._num_frames = DatasetRows(images, name=name), len(images)

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return self._num_frames

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the images of `rows`, JPEG as stored, others decoded; `resize` is left to the caller.

        Raises:
            EpisodeError: an entry cannot be read.
        """
        for entry in self._rows.read(rows):
            yield from EncodedFrames([bytes(entry)]).read([0], resize)


class DepthDataset:
    """A dataset of depth images float32 [T, h, w] in metres as a `DepthStream`."""

    def __init__(self, depths: h5py.Dataset, *, name: str) -> None:
        """Use entry t as row t.

        Raises:
            EpisodeError: the dataset has another shape or type.
        """
        if depths.ndim != 3 or depths.dtype != np.float32:
            raise EpisodeError(f"{name}: {depths.name} is {depths.dtype} {depths.shape}, expected float32 [T, h, w]")
        self._rows = DatasetRows(depths, name=name)

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        """Yield the depth images of `rows` as stored.

        Raises:
            EpisodeError: an entry cannot be read.
        """
        yield from self._rows.read(rows)
