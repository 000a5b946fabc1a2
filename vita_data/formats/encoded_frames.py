"""A camera whose frames are encoded images in memory, one per row; JPEG is passed on unchanged."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import simplejpeg

from vita_data.image_header import excess
from vita_data.types import Image, JpegFrame, ResizeMode, RgbFrame

_JPEG_MAGIC = b"\xff\xd8\xff"


class EncodedFrames:
    """A `CameraStream` over encoded images."""

    def __init__(self, images: Sequence[bytes]) -> None:
        self._images = images

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return len(self._images)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of `rows`: JPEG bytes as stored, any other image format decoded at its own size.

        Bytes that are not an image, or declare one larger than any known (`limits`), are yielded unchanged: storing the
        frame decides whether to drop the episode.
        """
        for row in rows:
            yield encoded_frame(self._images[row])


def is_image(data: bytes) -> bool:
    """Tell whether bytes decode as an image; a JPEG is decoded at an eighth of its size, which is the fastest."""
    if not data or excess(data):
        return False
    if not data.startswith(_JPEG_MAGIC):
        return _decoded(data, cv2.IMREAD_REDUCED_COLOR_8) is not None
    try:
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1, min_factor=8)
    except ValueError:
        return False
    return True


def encoded_frame(data: bytes) -> JpegFrame | RgbFrame:
    """Return one frame as `EncodedFrames` yields it."""
    if not data or data.startswith(_JPEG_MAGIC) or excess(data):
        return JpegFrame(data)
    pixels = _decoded(data, cv2.IMREAD_COLOR_RGB)
    return JpegFrame(data) if pixels is None else RgbFrame(pixels)


def _decoded(data: bytes, how: int) -> Image | None:
    """Decode an image; None if it is damaged, which OpenCV says in two ways.

    Raises:
        MemoryError: there is not enough memory.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def any_image(images: Sequence[bytes]) -> bool:
    """Tell whether a camera has any image; a camera without a decodable entry is not a camera of its episode.

    Records store an empty string per step for a view that was not recorded.
    """
    return any(is_image(data) for data in images)
