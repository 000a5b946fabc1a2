"""Frames become 256x256 JPEG; a source's own of that form is not touched."""

import cv2
import numpy as np
import pytest
import simplejpeg

from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.normalize.images import (
    UndecodableFrameError,
    is_black,
    is_black_jpeg,
    is_storable,
    store_frame,
    to_square,
)
from vita_data.types import JpegFrame, ResizeMode, RgbFrame


def jpeg(height: int, width: int, quality: int = 90) -> bytes:
    return simplejpeg.encode_jpeg(toy_frame(height, width, step=77, camera=2), quality, "RGB", "420")


def stored(frame: JpegFrame | RgbFrame, resize: ResizeMode = ResizeMode.PLAIN) -> bytes:
    return store_frame(frame, resize=resize, quality=95).jpeg


def test_a_baseline_256_jpeg_passes_through_byte_for_byte() -> None:
    data = jpeg(256, 256)

    assert stored(JpegFrame(data)) == data


def test_a_jpeg_with_megabytes_of_comments_is_encoded_anew() -> None:
    """A table of a megabyte, compressed, may hold thousands of such images: stored as they are, they fill the disk."""
    data = jpeg(256, 256)
    comments = (b"\xff\xfe\xff\xff" + bytes(65533)) * 20
    result = stored(JpegFrame(data[:2] + comments + data[2:]))
    assert len(result) < 100_000
    assert simplejpeg.decode_jpeg_header(result) == (256, 256, "YCbCr", "420")


@pytest.mark.parametrize("kind", ["progressive", "grey", "small"])
def test_any_other_jpeg_is_encoded_anew_as_baseline_colour_256(kind: str) -> None:
    frame = toy_frame(256, 256, step=5)
    data = {
        "progressive": cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        "grey": cv2.imencode(".jpg", frame[:, :, 0])[1].tobytes(),
        "small": jpeg(128, 128),
    }[kind]

    result = stored(JpegFrame(data))
    assert result != data
    assert simplejpeg.decode_jpeg_header(result) == (256, 256, "YCbCr", "420")


@pytest.mark.parametrize("shape", [(480, 640), (84, 84), (720, 1280), (120, 160)])
def test_plain_resize_keeps_the_whole_image(shape: tuple[int, int]) -> None:
    frame = RgbFrame(toy_frame(*shape, step=321, camera=1))

    mark = read_toy_frame(simplejpeg.decode_jpeg(stored(frame)))
    assert (mark.step, mark.camera, mark.upright, mark.rgb) == (321, 1, True, True)


@pytest.mark.parametrize("shape", [(240, 427), (427, 240)])
def test_centre_crop_keeps_the_square(shape: tuple[int, int]) -> None:
    frame = RgbFrame(toy_frame(*shape, step=9, resize=ResizeMode.CENTER_CROP))

    mark = read_toy_frame(simplejpeg.decode_jpeg(stored(frame, ResizeMode.CENTER_CROP)))
    assert (mark.step, mark.upright) == (9, True)


def test_shrinking_averages_areas() -> None:
    checker = np.indices((512, 512)).sum(axis=0) % 2 * np.uint8(200)
    image = np.repeat(checker[:, :, None], 3, axis=2).astype(np.uint8)

    assert np.all(to_square(image, ResizeMode.PLAIN) == 100)


@pytest.mark.parametrize("damage", ["half", "no start", "empty"])
def test_damaged_jpegs_are_named_undecodable(damage: str) -> None:
    data = jpeg(256, 256)
    broken = {"half": data[: len(data) // 2], "no start": b"\x00" + data, "empty": b""}[damage]

    with pytest.raises(UndecodableFrameError):
        is_storable(broken)
    with pytest.raises(UndecodableFrameError):
        stored(JpegFrame(broken))


def test_black_is_a_mean_below_two() -> None:
    assert is_black(np.ones((4, 4, 3), np.uint8))
    assert not is_black(np.full((4, 4, 3), 2, np.uint8))


def test_pixels_come_with_every_frame_that_was_decoded_and_with_no_other() -> None:
    passed = store_frame(JpegFrame(jpeg(256, 256)), resize=ResizeMode.PLAIN, quality=95)
    decoded = store_frame(JpegFrame(jpeg(128, 128)), resize=ResizeMode.PLAIN, quality=95)

    assert passed.pixels is None
    assert decoded.pixels is not None
    assert read_toy_frame(decoded.pixels).step == 77


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4, 7, 9, 30])
@pytest.mark.parametrize("contrast", [0, 3, 200])
def test_a_jpeg_is_black_where_its_pixels_are(level: int, contrast: int) -> None:
    """Also a dark image with a few bright pixels, whose whole is just below or above the limit."""
    rng = np.random.default_rng(level)
    pixels = np.full((256, 256, 3), level, np.uint8)
    pixels[rng.random((256, 256)) < 0.01] += np.uint8(contrast)
    data = simplejpeg.encode_jpeg(pixels, 90)
    assert is_black_jpeg(data) == is_black(np.asarray(simplejpeg.decode_jpeg(data, "RGB")))


def test_a_damaged_jpeg_is_not_black_but_undecodable() -> None:
    data = simplejpeg.encode_jpeg(toy_frame(256, 256, step=0), 90)
    with pytest.raises(UndecodableFrameError):
        is_black_jpeg(data[: len(data) // 2])
