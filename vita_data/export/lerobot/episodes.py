"""Cuts a clip into episodes of constant rate and gives each its columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import simplejpeg

from vita_data.errors import ShardError
from vita_data.export.lerobot.features import (
    ACTION,
    MASK_ACTION,
    MASK_STATE,
    STATE,
    STEP,
    Layout,
    camera_mask_key,
)
from vita_data.types import IMAGE_SIZE, Bool, CameraRole, Clip, Float32, Gaps, Image, Int64, StoredFrame, Track


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedEpisode:
    """Rows `start` to `stop` of a clip: one LeRobot episode."""

    clip: Clip
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def columns(self, layout: Layout) -> dict[str, Float32 | Bool | Int64]:
        """Return the values [T, D] or [T] of each column that a LeRobot dataset need not have."""
        clip, rows = self.clip, slice(self.start, self.stop)
        action = clip.action
        found: dict[str, Float32 | Bool | Int64] = {}
        if layout.state_columns:
            found[STATE], found[MASK_STATE] = _vectors(clip.state, layout.state_columns, clip.num_steps)
        if layout.action_columns:
            found[ACTION], mask = _vectors(
                None if action is None else action.track, layout.action_columns, clip.num_steps
            )
            found[MASK_ACTION] = mask if action is None else mask & action.is_valid[:, None]
        for role in layout.cameras:
            found[camera_mask_key(role)] = np.isin(np.arange(clip.num_steps), list(self._stored(role)))
        found[STEP] = clip.step_index
        return {key: values[rows] for key, values in found.items()}

    def frames(self, role: CameraRole) -> Iterator[Image | None]:
        """Decode the images of a camera row by row; None where there is none.

        Raises:
            ShardError: an image does not decode.
        """
        stored = self._stored(role)
        for row in range(self.start, self.stop):
            yield _decode(self.clip, role, stored[row]) if row in stored else None

    def _stored(self, role: CameraRole) -> dict[int, StoredFrame]:
        return {frame.row: frame for frame in self.clip.frames.get(role, ())}


BLANK = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
"""What a video shows where a camera has no image."""


def episodes_of(clip: Clip) -> Iterator[ExportedEpisode]:
    """Cut a clip where time is missing; removed no-ops are no gap, since nothing moved."""
    jumps = np.flatnonzero(np.diff(clip.step_index) != 1) + 1 if clip.gaps is Gaps.BREAK else ()
    ends = [0, *(int(row) for row in jumps), clip.num_steps]
    for start, stop in pairwise(ends):
        yield ExportedEpisode(clip=clip, start=start, stop=stop)


def _vectors(track: Track | None, columns: tuple[int, ...], num_rows: int) -> tuple[Float32, Bool]:
    """Return the chosen columns and, for each value, whether it is real."""
    if track is None:
        return np.zeros((num_rows, len(columns)), np.float32), np.zeros((num_rows, len(columns)), bool)
    chosen = list(columns)
    return track.values[:, chosen], np.tile(track.mask[chosen], (num_rows, 1))


def _decode(clip: Clip, role: CameraRole, frame: StoredFrame) -> Image:
    try:
        pixels: Image = simplejpeg.decode_jpeg(frame.jpeg)
    except ValueError as error:
        raise ShardError(
            f"clip {clip.key}, camera {role}, row {frame.row}: the image does not decode ({error}); its raw file was "
            "damaged: fetch it again and build the source again"
        ) from error
    return pixels
