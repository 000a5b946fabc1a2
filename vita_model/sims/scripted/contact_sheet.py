"""A contact sheet of rollouts: one row per episode, with evenly spaced images and a bar for the outcome."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vita_data.errors import VitaDataError
from vita_data.types import Image

_GREEN, _RED = (40, 160, 60), (200, 50, 40)
_BAR_PX = 6


def contact_sheet(rows: Sequence[tuple[bool, Sequence[Image]]], *, num_columns: int = 8, size: int = 96) -> Image:
    """Draw rows of (success, pictures), at most `num_columns` pictures each, always with the first and last.

    Returns:
        uint8 [h, w, 3] RGB.

    Raises:
        ValueError: there are no rows, or a row has no picture.
    """
    if not rows or not all(len(pictures) for _, pictures in rows):
        raise ValueError("a contact sheet needs at least one row, and at least one picture per row")
    sheet = np.full((len(rows) * size, _BAR_PX + num_columns * size, 3), 255, np.uint8)
    for index, (success, pictures) in enumerate(rows):
        band = sheet[index * size : (index + 1) * size]
        band[:, :_BAR_PX] = _GREEN if success else _RED
        shown = np.linspace(0, len(pictures) - 1, min(num_columns, len(pictures))).round().astype(int)
        for column, moment in enumerate(shown):
            left = _BAR_PX + column * size
            band[:, left : left + size] = cv2.resize(pictures[moment], (size, size), interpolation=cv2.INTER_AREA)
    return sheet


def write_jpeg(path: Path, image: Image) -> None:
    """Write an RGB image as JPEG.

    Raises:
        VitaDataError: it cannot be encoded or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise VitaDataError(f"{path}: cannot write the picture")
