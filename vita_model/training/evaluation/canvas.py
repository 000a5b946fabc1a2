"""Simple plots with numpy: grids of tiles, stacked images, lines, shaded cells."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vita_data.types import Float32, Image, Int64

MARGIN = 4
WHITE, GREY = 255, 128
Colour = tuple[int, int, int]


def tiled(tiles: Image) -> Image:
    """Arrange tiles uint8 [R, C, h, w, 3] in rows and columns with white margins."""
    num_rows, num_columns, height, width, _ = tiles.shape
    sheet = np.full(
        (num_rows * (height + MARGIN) + MARGIN, num_columns * (width + MARGIN) + MARGIN, 3), WHITE, np.uint8
    )
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
            sheet[top : top + height, left : left + width] = tiles[row, column]
    return sheet


def stacked(blocks: Sequence[Image]) -> Image:
    """Stack images vertically, aligned left, and pad narrower ones with white."""
    width = max(block.shape[1] for block in blocks)
    pads = [((0, 0), (0, width - block.shape[1]), (0, 0)) for block in blocks]
    return np.concatenate([np.pad(one, pad, constant_values=WHITE) for one, pad in zip(blocks, pads, strict=True)])


def enlarged(images: Image, factor: int) -> Image:
    """Repeat each pixel of uint8 [..., h, w, 3] `factor` times in both directions."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def draw_line(panel: Image, points: Float32, colour: Colour) -> None:
    """Draw a line, two pixels wide, through points [n, 2] (column, row) into a panel; points outside are clipped."""
    size = np.array([panel.shape[1], panel.shape[0]])
    for start, stop in pairwise(points):
        count = int(np.abs(stop - start).max()) + 2
        places = start + (stop - start) * np.linspace(0, 1, count)[:, None]
        for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
            columns, rows = (np.round(places).astype(np.int64) + shift).clip(0, size - 1).T
            panel[rows, columns] = colour


def shaded(counts: Int64, *, cell: int, colour: Colour, diagonal: Colour) -> Image:
    """Draw counts [M, M] as squares of `cell` pixels, darker for larger counts (logarithmic).

    The diagonal has another colour. Squares of count zero are white, or light grey on the diagonal.
    """
    shade = np.log1p(counts) / max(float(np.log1p(counts.max(initial=0))), 1e-12)
    same = np.eye(len(counts), dtype=bool)[..., None]
    full = np.where(same, diagonal, colour)
    empty = np.where(same, 230, WHITE)
    # Even a count of one must be visible.
    strength = np.where(counts > 0, 0.25 + 0.75 * shade, 0.0)[..., None]
    pixels: Image = np.round(empty + (full - empty) * strength).astype(np.uint8)
    return enlarged(pixels, cell)
