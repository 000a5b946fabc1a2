"""RoboMIND's images: one entry of bytes per frame, JPEG or (if the encoder failed) the raw pixel buffer; also depth.

The project's reader decodes with OpenCV, whose result is BGR, and then swaps channels only for Franka and UR: "these
embodiments image data are recorded in BGR", the others in RGB (static/quick_start.ipynb, static/robomind.yaml). So the
JPEG of a Franka or UR frame is an ordinary one, and an AgileX frame has red and blue swapped in every other decoder.
Raw buffers were never encoded: they are BGR for Franka and UR, RGB for AgileX.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import cv2
import h5py
import numpy as np
import simplejpeg

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import is_image
from vita_data.formats.hdf5.frames import any_entry, entry_bytes
from vita_data.formats.hdf5.rows import DatasetRows
from vita_data.image_header import excess
from vita_data.types import Float32, Image, JpegFrame, ResizeMode, RgbFrame

_JPEG_MAGIC = b"\xff\xd8\xff"
_SHAPES = ((720, 1280), (480, 640))
"""The two possible camera sizes of a raw buffer (static/quick_start.ipynb)."""
_MAX_METRES = 100
"""A depth image of floats with a larger value is in millimetres (all_robot_h5_info_v1.2.md)."""


class FrameBytes(StrEnum):
    """The channel order that the recorder passed to its JPEG encoder, which assumed BGR."""

    RECORDED_BGR = "recorded_bgr"
    RECORDED_RGB = "recorded_rgb"


class StoredFrames:
    """A dataset of encoded frames as a `CameraStream`; it opens the file again and reads only the requested rows."""

    def __init__(self, images: h5py.Dataset, *, num_frames: int, frame_bytes: FrameBytes, name: str) -> None:
        """Use the first `num_frames` entries.

        Raises:
            EpisodeError: the entries are not variable-length byte strings.
        """
        _refuse_dense(images, name)
        self._entries = DatasetRows(images, name=name)
        self._num_frames, self._frame_bytes = num_frames, frame_bytes

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return self._num_frames

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of `rows` at their stored size.

        Bytes that are not an image are yielded unchanged: storing the frame decides whether to drop the episode.

        Raises:
            EpisodeError: the entries cannot be read.
        """
        for entry in self._entries.read(rows):
            yield decode_frame(entry_bytes(entry), self._frame_bytes)


class StoredDepth:
    """A dataset of encoded depth images as a `DepthStream`."""

    def __init__(self, images: h5py.Dataset, *, name: str) -> None:
        """Use the entries of a dataset.

        Raises:
            EpisodeError: the entries are not variable-length byte strings.
        """
        _refuse_dense(images, name)
        self._entries, self._where = DatasetRows(images, name=name), f"{name}: {images.name}"

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        """Yield the depth images [h, w] in metres of ascending `rows`.

        Raises:
            EpisodeError: the entries cannot be read, or one is not a depth image.
        """
        for row, depth in zip(rows, self.decoded(rows), strict=True):
            if depth is None:
                raise EpisodeError(f"expected a depth image in {self._where}[{row}]")
            yield depth

    def decoded(self, rows: Sequence[int]) -> Iterator[Float32 | None]:
        """Yield the depth images [h, w] in metres of ascending `rows`; None for an entry that is not a depth image.

        Raises:
            EpisodeError: the entries cannot be read.
        """
        for entry in self._entries.read(rows):
            yield decode_depth_m(entry_bytes(entry))


class FramesWithDepth:
    """A camera whose row is valid only if its depth image is valid too, as a `CameraStream`.

    A missing depth image cannot be stored, and a row is stored either with both images or not at all.
    """

    def __init__(self, frames: StoredFrames, depth: StoredDepth) -> None:
        self._frames, self._depth = frames, depth

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return self._frames.num_frames

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of ascending `rows`; if the depth image does not decode, bytes that are not an image.

        Raises:
            EpisodeError: the entries cannot be read.
        """
        for frame, depth in zip(self._frames.read(rows, resize), self._depth.decoded(rows), strict=True):
            yield JpegFrame(b"") if depth is None else frame


def shows_images(images: h5py.Dataset) -> bool:
    """Tell whether any entry is a colour image; usually the first one is.

    Unreadable entries count as images, since reading the frames later reports what is wrong.
    """
    return any_entry(images, lambda data: is_image(data) or _bare_buffer(data) is not None)


def shows_depth(images: h5py.Dataset) -> bool:
    """Tell whether any entry is a depth image; unreadable entries count too, as in `shows_images`."""
    return any_entry(images, lambda data: decode_depth_m(data) is not None)


def decode_frame(data: bytes, frame_bytes: FrameBytes) -> JpegFrame | RgbFrame:
    """Make an RGB frame from one entry; bytes that are not an image are passed on unchanged."""
    if frame_bytes is FrameBytes.RECORDED_BGR and data.startswith(_JPEG_MAGIC):
        return JpegFrame(data)
    pixels = _decoded(data)
    if pixels is not None:
        # as OpenCV shows it: recorded in BGR it is BGR, recorded in RGB it is RGB already
        return RgbFrame(pixels[..., ::-1] if frame_bytes is FrameBytes.RECORDED_BGR else pixels)
    return JpegFrame(data)


def decode_depth_m(data: bytes) -> Float32 | None:
    """Decode a depth image to float32 [h, w] metres; None for bytes that are not a depth image.

    Assumes: whole numbers are millimetres, even if all values are small.
    """
    depth = _imdecode(data, cv2.IMREAD_UNCHANGED)
    if depth is None:
        sizes = {height * width * item: (height, width, item) for height, width in _SHAPES for item in (1, 2)}
        if len(data) not in sizes:
            return None
        height, width, item = sizes[len(data)]
        depth = np.frombuffer(data, np.uint8 if item == 1 else np.uint16).reshape(height, width)
    if depth.ndim != 2:
        return None
    metres = depth.astype(np.float32)
    in_millimetres = depth.dtype.kind in "iu" or metres.max() > _MAX_METRES
    return metres / np.float32(1000) if in_millimetres else metres


def _decoded(data: bytes) -> Image | None:
    """Decode an entry to uint8 [h, w, 3] in OpenCV's channel order, a raw buffer as stored."""
    if data.startswith(_JPEG_MAGIC):
        if excess(data):
            return None
        try:
            return np.asarray(simplejpeg.decode_jpeg(data, "BGR"))
        except ValueError:
            return None
    pixels = _imdecode(data, cv2.IMREAD_COLOR)
    return _bare_buffer(data) if pixels is None else np.asarray(pixels, np.uint8)


def _bare_buffer(data: bytes) -> Image | None:
    shape = next(((*shape, 3) for shape in _SHAPES if shape[0] * shape[1] * 3 == len(data)), None)
    return None if shape is None else np.frombuffer(data, np.uint8).reshape(shape)


def _imdecode(data: bytes, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data and not excess(data) else None


def _refuse_dense(images: h5py.Dataset, name: str) -> None:
    if images.ndim != 1 or images.dtype.kind != "O":
        raise EpisodeError(
            f"{name}: {images.name} is {images.dtype} {images.shape}, expected one entry of encoded bytes per frame"
        )
