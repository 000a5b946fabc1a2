"""Converts decoded video frames to the 256x256 RGB of the shards, with one filter graph per frame shape."""

from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np

from vita_data.types import IMAGE_SIZE, Image, ResizeMode

_TURNS = {270: ("transpose=clock",), 90: ("transpose=cclock",), 180: ("hflip", "vflip")}


def frame_scaler(resize: ResizeMode) -> Callable[[av.VideoFrame], Image]:
    """Make a function from a decoded frame to RGB [256, 256, 3]; frames of another shape or colour get their own graph.

    A graph keeps the matrix of the previous frame for a frame without a tag, so rows would depend on which were read.
    """
    graphs: dict[tuple[int, int, str, int, int, int], av.filter.Graph] = {}

    def scale(frame: av.VideoFrame) -> Image:
        turn = round(frame.rotation) % 360
        kind = (frame.width, frame.height, frame.format.name, turn, frame.colorspace, frame.color_range)
        if kind not in graphs:
            graphs[kind] = _graph(frame, resize)
        graphs[kind].vpush(frame)
        return interleaved(graphs[kind].vpull())

    return scale


def _graph(frame: av.VideoFrame, resize: ResizeMode) -> av.filter.Graph:
    """Crop, scale and convert in swscale's own formats, without any full-size RGB image.

    Uses area when shrinking and bicubic when a side grows. Quarter rotations of the display matrix are applied, its
    flips are not; pixels count as square. Matrix (BT.601, BT.709, ...) and range (limited, full) are those of the
    file's tags; BT.601 and limited without tags.

    RGB is converted as planes. swscale makes packed RGB from tables that round down and have half the colour
    resolution, which was 1 to 2 levels too dark and took 1.3 to 1.8 times as long; planes are within half a level of
    the exact formula on flat colours (both measured with libswscale 9.5). For full range with more than 8 bits, swscale
    takes the largest value for 255.75 or more, so that bright colours are up to 1.4 levels off.
    """
    width, height, steps = frame.width, frame.height, []
    if resize is ResizeMode.CENTER_CROP:
        width = height = min(width, height)
        steps.append(f"crop={width}:{height}")
    kernel = "area" if min(width, height) >= IMAGE_SIZE else "bicubic"
    # accurate_rnd: frames that already have the size do not take a shortcut that darkens by up to 3 levels;
    # full_chroma_inp: a source that is already RGB keeps its colour resolution
    steps += [f"scale={IMAGE_SIZE}:{IMAGE_SIZE}:flags={kernel}+accurate_rnd+full_chroma_inp", "format=gbrp"]
    steps += _TURNS.get(round(frame.rotation) % 360, ())
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
        )
    ]
    nodes += [graph.add(*step.split("=", 1)) for step in steps]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def interleaved(frame: av.VideoFrame) -> Image:
    """Convert the planes of a frame (in the order green, blue, red) to RGB [h, w, 3]."""
    green, blue, red = (np.asarray(np.from_dlpack(plane), np.uint8) for plane in frame.planes)
    return np.asarray(cv2.merge([red, green, blue]), np.uint8)
