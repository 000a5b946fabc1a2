"""Reads what an encoded image declares about itself, before a decoder asks for memory or time because of it."""

import struct

MAX_IMAGE_PIXELS = 1 << 25
"""One image or video frame; 8K video (7680 x 4320) is smaller."""
MAX_JPEG_SCANS = 100
"""Scans of a JPEG, each of which is decoded over the whole image; encoders write about ten."""
MAX_JPEG_SCANNED_PIXELS = 16 * MAX_IMAGE_PIXELS
"""Pixels of a JPEG times its scans: the largest image with the scans of an encoder."""
_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
_FIRST_SOF, _LAST_SOF, _NOT_SOF = 0xC0, 0xCF, frozenset({0xC4, 0xC8, 0xCC})
_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})
"""Markers without a length, and fill: legal, but unseen before a frame header, and a way to hide the true one."""
_SCAN = b"\xff\xda"
_SEGMENT = struct.Struct(">BBHBHHB")
"""0xFF, marker, length, then in a frame header: bits per sample, height, width, number of components."""
_MIN_HEADER = 30
_TIFF = {b"II*\x00": "<", b"MM\x00*": ">"}
"""The beginnings of TIFF, and the byte order that each announces."""
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_FORMATS = {3: "H", 4: "I"}


JpegHeader = tuple[int, int, int, int]
"""The kind of a JPEG's frame, its height, width and number of components."""


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Return what a JPEG's frame header declares; None if it has none."""
    at = 2
    while at + _SEGMENT.size <= len(data):
        start, marker, size, _, height, width, components = _SEGMENT.unpack_from(data, at)
        if start != 0xFF or marker in _NO_LENGTH:
            break
        if _FIRST_SOF <= marker <= _LAST_SOF and marker not in _NOT_SOF:
            return marker, height, width, components
        at += 2 + size
    return None


def excess(data: bytes) -> str:
    """Say why an image must not be decoded; empty if it may be."""
    if data.startswith(_JPEG):
        header = jpeg_header(data)
        return jpeg_excess(data, header) if header else "a JPEG without a frame header"
    size = _other_size(data)
    return _size_excess(*size) if size else "neither JPEG, PNG, WebP, BMP, GIF nor TIFF"


def oversize(data: bytes) -> str:
    """Say why decoding what may be an image would take too much memory or time; empty if it would not."""
    has_header = jpeg_header(data) if data.startswith(_JPEG) else _other_size(data)
    return excess(data) if has_header else ""


def jpeg_excess(data: bytes, header: JpegHeader) -> str:
    """Say why decoding a JPEG with this header would take too much memory or time; empty if it would not."""
    _, height, width, _ = header
    if too_large := _size_excess(height, width):
        return too_large
    num_scans, most = data.count(_SCAN), min(MAX_JPEG_SCANS, MAX_JPEG_SCANNED_PIXELS // max(height * width, 1))
    return f"a JPEG of {num_scans} scans, expected at most {most}" if num_scans > most else ""


def _size_excess(height: int, width: int) -> str:
    if height * width > MAX_IMAGE_PIXELS:
        return f"an image of {width}x{height} pixels, expected at most {MAX_IMAGE_PIXELS}"
    return ""


def _other_size(data: bytes) -> tuple[int, int] | None:
    """Return the declared height and width of an image; None for an unknown format."""
    if len(data) < _MIN_HEADER:
        return None
    if data.startswith(_PNG):
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if data.startswith(_BMP):
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(height), abs(width)
    if data.startswith(_GIF):
        width, height = struct.unpack_from("<HH", data, 6)
        return height, width
    if data.startswith(tuple(_TIFF)):
        return _tiff_size(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Source: TIFF 6.0, section 2: the first directory, whose fields are tag, type, count and value."""
    order = _TIFF[data[:4]]
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    found: dict[int, int] = {}
    if at + 2 > len(data):
        return None
    (num_fields,) = struct.unpack_from(f"{order}H", data, at)
    for field in range(at + 2, min(at + 2 + 12 * num_fields, len(data) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, field)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in _TIFF_FORMATS:
            (value,) = struct.unpack_from(order + _TIFF_FORMATS[kind], data, field + 8)
            found[tag] = max(value, found.get(tag, 0))
    if len(found) < 2:
        return None
    return found[_TIFF_HEIGHT], found[_TIFF_WIDTH]


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Source: WebP Container Specification; RFC 6386 (VP8), section 9.1; WebP Lossless Bitstream Specification."""
    match data[12:16]:
        case b"VP8X":
            return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return height & 0x3FFF, width & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return None
