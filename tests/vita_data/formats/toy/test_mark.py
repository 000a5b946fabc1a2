"""Marks of toy frames: read back after what sources and shards do to them, and wrong where a frame was changed."""

import numpy as np
import pytest
import simplejpeg

from vita_data.formats.toy import ToyMark, read_toy_frame, toy_frame
from vita_data.resize import to_square
from vita_data.types import ResizeMode

MARK = ToyMark(step=16383, camera=5, episode=21, upright=True, rgb=True)
SHAPES = [(84, 84), (128, 128), (180, 320), (480, 640), (720, 1280), (427, 240)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resize", ResizeMode)
def test_a_mark_survives_resizing_and_jpeg(shape: tuple[int, int], resize: ResizeMode) -> None:
    frame = toy_frame(*shape, step=16383, camera=5, episode=21, resize=resize)
    stored = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(to_square(frame, resize), 85, colorsubsampling="420"))
    assert read_toy_frame(stored) == MARK


def test_a_turned_mirrored_or_recoloured_frame_is_found() -> None:
    frame = toy_frame(256, 256, step=7, episode=2)
    assert read_toy_frame(frame).upright
    assert read_toy_frame(frame).rgb
    for changed in (frame[::-1], frame[:, ::-1], frame[::-1, ::-1], frame.transpose(1, 0, 2)):
        assert not read_toy_frame(np.ascontiguousarray(changed)).upright
    assert not read_toy_frame(frame[..., ::-1]).rgb
    assert read_toy_frame(frame[..., ::-1]).upright


def test_every_bit_is_read() -> None:
    for step in [1 << bit for bit in range(14)]:
        assert read_toy_frame(toy_frame(64, 64, step=step)).step == step
    for camera in range(8):
        assert read_toy_frame(toy_frame(64, 64, step=0, camera=camera)).camera == camera
    for episode in range(32):
        assert read_toy_frame(toy_frame(64, 64, step=0, episode=episode)).episode == episode
