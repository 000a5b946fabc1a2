"""A camera of a declared source: the rows that are kept, with its images turned upright."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg

from vita_data.action_convention import Flip, turned
from vita_data.types import CameraStream, Int64, JpegFrame, ResizeMode, RgbFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredCamera:
    """Some rows of another camera, turned."""

    camera: CameraStream
    rows: Int64
    """The kept rows of the other camera, ascending."""
    turned: Flip

    @property
    def num_frames(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of ascending `rows`; a JPEG that is turned becomes pixels.

        Raises:
            EpisodeError: as in the other camera.
        """
        frames = self.camera.read([int(self.rows[row]) for row in rows], resize)
        yield from frames if self.turned is Flip.NONE else (_turned(frame, self.turned) for frame in frames)


def _turned(frame: JpegFrame | RgbFrame, flip: Flip) -> JpegFrame | RgbFrame:
    if isinstance(frame, RgbFrame):
        return RgbFrame(turned(frame.pixels, flip))
    try:
        pixels = simplejpeg.decode_jpeg(frame.data, "RGB")
    except ValueError:
        return frame  # storing the frame reports it
    return RgbFrame(turned(np.asarray(pixels, np.uint8), flip))
