"""A mark that a test can read back from a stored 256x256 JPEG: which frame it is, and whether it was changed.

The top edge of a frame encodes in black and white cells its episode, step and camera. Coloured corners show whether it
was flipped or its channels were swapped.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.types import Image, Int64, ResizeMode

_GRID = 8
"""Corners are an eighth of the image; between the two upper ones lie two rows of cells, half as large."""
_CORNERS = {(0, 0): (220, 30, 30), (0, 7): (30, 200, 30), (7, 0): (30, 30, 220), (7, 7): (220, 220, 30)}
_FINE, _CELLS = 16, [(row, column) for row in range(2) for column in range(2, 14)]
_STEP_BITS, _CAMERA_BITS, _EPISODE_BITS = 14, 3, 5
_BLACK, _WHITE = (20, 20, 20), (235, 235, 235)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyMark:
    """The decoded mark of a toy frame; `upright` and `rgb` tell whether its corners are in the right places."""

    step: int
    camera: int
    episode: int
    upright: bool
    rgb: bool


def put_toy_mark(image: Image, *, step: int, camera: int, episode: int, resize: ResizeMode) -> None:
    """Paint a mark over a frame [height, width, 3]; it survives `resize` to 256x256 and JPEG."""
    area = image[_code_area(len(image), len(image[0]), resize)]
    for (row, column), colour in _CORNERS.items():
        _paint(area, row, column, _GRID, colour)
    bits = f"{step:0{_STEP_BITS}b}{camera:0{_CAMERA_BITS}b}{episode:0{_EPISODE_BITS}b}"
    for (row, column), bit in zip(_CELLS, bits.ljust(len(_CELLS), "0"), strict=True):
        _paint(area, row, column, _FINE, _WHITE if bit == "1" else _BLACK)


def read_toy_frame(image: Image) -> ToyMark:
    """Read the mark of a square toy frame [n, n, 3]; the bits are read as if the frame were upright."""
    order = [_cell(image, row, column, _GRID) for row, column in _CORNERS]
    expected = np.array(list(_CORNERS.values()))
    upright = all(np.abs(np.sort(cell) - np.sort(want)).max() < 90 for cell, want in zip(order, expected, strict=True))
    upright = upright and bool(order[3][1] > 128) and bool(order[1][1] > 128)
    rgb = bool(np.abs(np.stack(order) - expected).max() < 90)
    bits = "".join("1" if _cell(image, row, column, _FINE).mean() > 128 else "0" for row, column in _CELLS)
    values, at = [], 0
    for width in (_STEP_BITS, _CAMERA_BITS, _EPISODE_BITS):
        values.append(int(bits[at : at + width], 2))
        at += width
    return ToyMark(step=values[0], camera=values[1], episode=values[2], upright=upright, rgb=rgb)


def _paint(area: Image, row: int, column: int, grid: int, colour: tuple[int, int, int]) -> None:
    tall, wide = area.shape[:2]
    area[tall * row // grid : tall * (row + 1) // grid, wide * column // grid : wide * (column + 1) // grid] = colour


def _cell(image: Image, row: int, column: int, grid: int) -> Int64:
    size = len(image)
    middle = image[(2 * row + 1) * size // (2 * grid), (2 * column + 1) * size // (2 * grid)]
    return np.asarray(middle, np.int64)


def _code_area(height: int, width: int, resize: ResizeMode) -> tuple[slice, slice]:
    if resize is ResizeMode.PLAIN:
        return slice(None), slice(None)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)
