"""Scaling of decoded frames: colours by the exact formulas of the file's tags, before JPEG and after it."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from vita_data.formats.video.decode import open_video
from vita_data.formats.video.scale import frame_scaler
from vita_data.normalize.images import store_frame
from vita_data.types import Float64, Image, ResizeMode, RgbFrame

real_data = pytest.mark.skipif("VITA_REAL_DATA" not in os.environ, reason="VITA_REAL_DATA is not set")
WEIGHTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Kr and Kb by the tag: ITU-R BT.709, none, BT.601, BT.2020."""


def exact_rgb(luma: Float64, u: Float64, v: Float64, tag: int, *, full: bool) -> Float64:
    """Convert 8-bit planes of one size to RGB [h, w, 3] by the formula of ITU-R BT.601, BT.709 and BT.2020."""
    kr, kb = WEIGHTS[tag]
    luma = luma if full else (luma - 16) * 255 / 219
    u, v = ((plane - 128) * (1 if full else 255 / 224) for plane in (u, v))
    red, blue = luma + 2 * (1 - kr) * v, luma + 2 * (1 - kb) * u
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255)


def halved(pixels: Float64) -> Float64:
    return pixels.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))


def planar(luma: Image, u: Image, v: Image, tag: int, *, full: bool) -> av.VideoFrame:
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    for plane, values in zip(frame.planes, (luma, u, v), strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    return frame


def gradients() -> tuple[Image, Image, Image]:
    """Planes 512x512 and 256x256 with a fine texture in the luma, all of whose colours exist in RGB."""
    x = np.arange(512)
    luma = 90 + x // 8 + np.random.default_rng(0).integers(0, 16, (512, 512))
    v, u = np.mgrid[0:256, 0:256]
    return luma.astype(np.uint8), (108 + u // 6).astype(np.uint8), (108 + v // 6).astype(np.uint8)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("tag", WEIGHTS)
def test_a_scaled_frame_is_within_a_level_of_the_exact_formula(tag: int, full: bool) -> None:
    luma, u, v = gradients()
    pixels = frame_scaler(ResizeMode.PLAIN)(planar(luma, u, v, tag, full=full))
    planes = [plane.repeat(2, 0).repeat(2, 1).astype(float) for plane in (u, v)]
    expected = halved(exact_rgb(luma.astype(float), *planes, tag, full=full))
    assert np.abs(pixels - expected).max() <= 1
    assert np.abs((pixels - expected).mean(axis=(0, 1))).max() < 0.1
    # what is stored: JPEG adds noise, no shift
    stored = store_frame(RgbFrame(pixels), resize=ResizeMode.PLAIN, quality=95)
    after = simplejpeg.decode_jpeg(stored.jpeg, "RGB").astype(float)
    assert np.abs((after - expected).mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("size", [(256, 256), (240, 426), (480, 640)])
def test_flat_colours_are_exact_whatever_the_kernel(size: tuple[int, int]) -> None:
    scale, (height, width) = frame_scaler(ResizeMode.CENTER_CROP), size
    for colour in [(16, 128, 128), (235, 128, 128), (81, 90, 240), (145, 54, 34), (41, 240, 110), (126, 100, 150)]:
        shapes = [(height, width), *[(height // 2, width // 2)] * 2]
        planes = [np.full(shape, value, np.uint8) for shape, value in zip(shapes, colour, strict=True)]
        expected = exact_rgb(*(np.array(value, float) for value in colour), 5, full=False)
        assert np.abs(scale(planar(*planes, 5, full=False)) - expected).max() <= 0.6


def test_the_tags_of_one_frame_do_not_colour_the_next() -> None:
    scale, colour = frame_scaler(ResizeMode.PLAIN), (120, 90, 170)
    planes = [
        np.full(size, value, np.uint8) for size, value in zip(((300, 300), *[(150, 150)] * 2), colour, strict=True)
    ]
    for tag, full in ((1, False), (2, False), (9, True), (5, False), (1, True)):
        expected = exact_rgb(*(np.array(value, float) for value in colour), tag, full=full)
        assert np.abs(scale(planar(*planes, tag, full=full)) - expected).max() <= 0.6


def test_a_video_that_is_rgb_keeps_the_resolution_of_its_colours() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    pixels[:, ::4], pixels[:, 1::4], pixels[:, 2::4], pixels[:, 3::4] = (200, 40, 40), (180, 60, 40), 90, (40, 40, 200)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    scaled = frame_scaler(ResizeMode.PLAIN)(frame)
    assert np.abs(scaled - halved(pixels.astype(float))).max() <= 1.5


@real_data
@pytest.mark.parametrize(
    ("name", "tag", "full"), [("bt709_full_range.mp4", 1, True), ("test.mp4", 2, False), ("av1_video.mkv", 1, False)]
)
def test_real_frames_are_neither_darker_nor_brighter_than_the_formula(name: str, tag: int, full: bool) -> None:
    path = Path(os.environ["VITA_REAL_DATA"], "video", name)
    with open_video(str(path), name) as (container, stream):
        frame = next(container.decode(stream))
    assert int(frame.colorspace) == tag
    planes = [
        np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width] for plane in frame.planes
    ]
    luma, u, v = (plane.astype(float) for plane in planes)
    u, v = (plane.repeat(2, 0).repeat(2, 1)[: frame.height, : frame.width] for plane in (u, v))
    exact = exact_rgb(luma, u, v, tag, full=full)
    scaled = frame_scaler(ResizeMode.PLAIN)(frame)
    assert np.abs(scaled.mean(axis=(0, 1)) - exact.mean(axis=(0, 1))).max() < 0.3
