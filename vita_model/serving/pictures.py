"""Images in vla-eval's messages: PNG, JPEG or raw bytes. The size is read from the header before memory is allocated.

Source: vla-eval 0.8.0, `protocol/image_codec.py`.
"""

import struct
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import simplejpeg

from vita_data.errors import RequestError
from vita_data.image_header import excess
from vita_data.types import Image
from vita_model.policy.openpi import decode_array

_MAX_SIDE = 4096
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD = struct.Struct(">8s4x4sII")
"""Signature, length and name of the first chunk, width, height."""


def decode_picture(value: Mapping[Any, Any]) -> Image:
    """Decode an image [h, w, 3].

    Raises:
        RequestError: it cannot be decoded, or its shape is not the declared one.
    """
    kind, data, shape = value.get("format"), value.get("data"), value.get("shape")
    if kind == "raw":
        return decode_array(value.get("dtype"), shape, data)
    if kind not in ("png", "jpeg") or not isinstance(data, bytes):
        raise RequestError(f"expected an image as png, jpeg or raw bytes, got format {kind!r}")
    size = _size(kind, data)
    if [*size, 3] != shape or max(size) > _MAX_SIDE:
        raise RequestError(
            f"expected an image [h, w, 3] with sides of at most {_MAX_SIDE} and a matching shape, got "
            f"{size[0]}x{size[1]} with shape {shape}"
        )
    if fault := excess(data):
        raise RequestError(f"cannot decode a {kind} image: {fault}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RequestError(f"cannot decode a {kind} image of {len(data)} bytes")
    return np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)


def _size(kind: str, data: bytes) -> tuple[int, int]:
    """Read height and width."""
    try:
        if kind == "jpeg":
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return height, width
        signature, chunk, width, height = _PNG_HEAD.unpack_from(data)
    except (ValueError, struct.error) as fault:
        raise RequestError(f"cannot read the header of a {kind} image of {len(data)} bytes") from fault
    if signature != _PNG or chunk != b"IHDR":
        raise RequestError(f"expected a PNG file, got {len(data)} bytes without a PNG header")
    return height, width
