"""Converts frames to 256x256 RGB JPEGs; a source's own baseline JPEG of that size is stored byte for byte.

Resizing: area averaging when shrinking, bicubic when enlarging (vita_data/README.md fixes size, chroma 4:2:0 and
quality 95).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from vita_data.formats.limits import MAX_STORED_JPEG_BYTES
from vita_data.formats.raw_tree.file_head import look
from vita_data.image_header import JpegHeader, jpeg_excess, jpeg_header, oversize
from vita_data.resize import to_square
from vita_data.types import IMAGE_SIZE, Float32, Image, JpegFrame, ResizeMode, RgbFrame

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_BASELINE_SOF = 0xC0
_BLACK_MEAN = 2.0
_LIT_MEAN = 8.0


class UndecodableFrameError(ValueError):
    """A frame's bytes are not a complete image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SquareFrame:
    """A frame as stored."""

    jpeg: bytes
    """256x256 RGB"""
    pixels: Image | None
    """uint8 [256, 256, 3] RGB before encoding; None if the source's own JPEG is stored without decoding"""


def store_frame(frame: JpegFrame | RgbFrame, *, resize: ResizeMode, quality: int) -> SquareFrame:
    """Make the JPEG that is stored.

    Raises:
        UndecodableFrameError: the bytes are damaged or end early.
    """
    if isinstance(frame, JpegFrame) and is_storable(frame.data):
        return SquareFrame(jpeg=frame.data, pixels=None)
    pixels = np.ascontiguousarray(to_square(rgb_pixels(frame), resize))
    return SquareFrame(jpeg=simplejpeg.encode_jpeg(pixels, quality, "RGB", "420"), pixels=pixels)


def rgb_pixels(frame: JpegFrame | RgbFrame) -> Image:
    """Decode to uint8 [h, w, 3] RGB.

    Raises:
        UndecodableFrameError: the bytes are damaged or end early.
    """
    if isinstance(frame, RgbFrame):
        return frame.pixels
    _check_markers(frame.data)
    _frame_header(frame.data)
    try:
        return np.asarray(simplejpeg.decode_jpeg(frame.data, "RGB"))
    except ValueError as error:
        raise UndecodableFrameError(f"JPEG of {len(frame.data)} bytes does not decode ({error})") from error


def square_depth(metres: Float32) -> Float32:
    """Resize a depth image [h, w] to [256, 256] by nearest neighbour: the mean of two surfaces belongs to neither."""
    return np.asarray(cv2.resize(metres, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_NEAREST), np.float32)


def is_storable(data: bytes) -> bool:
    """Tell whether JPEG bytes are a complete baseline 3-component 256x256 image, without megabytes of comments.

    Raises:
        UndecodableFrameError: the bytes are not a complete JPEG.
    """
    _check_markers(data)
    kind, height, width, components = _frame_header(data)
    is_short = len(data) <= MAX_STORED_JPEG_BYTES
    return is_short and (kind, height, width, components) == (_BASELINE_SOF, IMAGE_SIZE, IMAGE_SIZE, 3)


def is_black(pixels: Image) -> bool:
    """Tell whether an image uint8 [h, w, 3] is almost black (mean below 2 of 255)."""
    # Integer sums are exact, and OpenCV's sum takes a tenth of the time of numpy's mean.
    return sum(cv2.sumElems(pixels)) < _BLACK_MEAN * pixels.size


def is_black_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG is almost black, with the same result as `is_black` for its pixels.

    Raises:
        UndecodableFrameError: the bytes are damaged or end early.
    """
    # Averages of 8x8 blocks take half as long to decode. Clipping below zero makes pixels brighter than their average,
    # never darker, so a frame that is bright there is bright; only other frames have to be decoded fully.
    try:
        averages = simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        raise UndecodableFrameError(f"JPEG of {len(data)} bytes does not decode ({error})") from error
    return int(averages.sum()) < _LIT_MEAN * averages.size and is_black(rgb_pixels(JpegFrame(data)))


def _check_markers(data: bytes) -> None:
    # Some writers add zeros after the end marker; any other bytes after it are damage.
    if not data.startswith(_SOI) or not (data.endswith(_EOI) or data.rstrip(b"\x00").endswith(_EOI)):
        found = look(data, name="", own={"jpeg"}) if data else None
        told = oversize(data) or (found.what if found else "")
        what = f" ({told})" if told else ""
        raise UndecodableFrameError(f"{len(data)} bytes have no JPEG start and end marker{what}")


def _frame_header(data: bytes) -> JpegHeader:
    header = jpeg_header(data)
    if header is None:
        raise UndecodableFrameError(f"JPEG of {len(data)} bytes has no frame header")
    if fault := jpeg_excess(data, header):
        raise UndecodableFrameError(f"{len(data)} bytes declare {fault}")
    return header
