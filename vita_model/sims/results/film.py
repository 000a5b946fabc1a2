"""A film of rollouts: episodes side by side, all beginning together, each framed in the colour of its outcome."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from vita_data.errors import VitaDataError
from vita_data.storage.files import publish
from vita_data.types import Image

_GREEN, _RED, _GREY = (40, 160, 60), (200, 50, 40), (120, 120, 120)
_BORDER_PX = 4
_HOLD_S = 1.5
"""How long the last pictures stay."""


def write_film(
    path: Path, episodes: Sequence[tuple[bool, Sequence[Image]]], *, hz: int, num_columns: int = 5, size: int = 160
) -> None:
    """Write (success, pictures of all steps) of each episode as H.264, which browsers play.

    Raises:
        ValueError: there are no episodes, or one has no picture.
        VitaDataError: the file cannot be written.
    """
    import av  # imported late: it is slow, and every `vita-eval` imports this module

    if not episodes or not all(len(pictures) for _, pictures in episodes):
        raise ValueError("a film needs at least one episode, and at least one picture per episode")
    num_moments = max(len(pictures) for _, pictures in episodes) + round(_HOLD_S * hz)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as film:
            stream = film.add_stream("libx264", rate=hz, options={"crf": "23"})
            stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, hz)
            stream.height, stream.width = _moment(episodes, 0, num_columns, size).shape[:2]
            for moment in range(num_moments):
                picture = _moment(episodes, moment, num_columns, size)
                film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            film.mux(stream.encode())
        publish(partial, path)
    except (av.FFmpegError, OSError) as fault:
        raise VitaDataError(f"{path}: cannot write the film ({fault})") from fault


def _moment(episodes: Sequence[tuple[bool, Sequence[Image]]], moment: int, num_columns: int, size: int) -> Image:
    columns = min(num_columns, len(episodes))
    rows = -(-len(episodes) // columns)
    sheet = np.full((rows * size, columns * size, 3), 255, np.uint8)
    for number, (success, pictures) in enumerate(episodes):
        top, left = (number // columns) * size, (number % columns) * size
        over = moment >= len(pictures) - 1
        tile = sheet[top : top + size, left : left + size]
        tile[:] = (_GREEN if success else _RED) if over else _GREY
        inner = size - 2 * _BORDER_PX
        picture = cv2.resize(pictures[min(moment, len(pictures) - 1)], (inner, inner), interpolation=cv2.INTER_AREA)
        tile[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = picture
    return sheet
