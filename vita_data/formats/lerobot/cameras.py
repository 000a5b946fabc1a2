"""The cameras of LeRobot episodes: a video of the episode, a part of a longer video, or images in the table.

The frame of a row in a longer video is the one whose time stamp is the row's: no seeking by time is involved, since the
list of the file's packets gives the number of the frame (`formats.video`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import encoded_frame
from vita_data.formats.lerobot.dataset import open_rows, read_column
from vita_data.formats.lerobot.episode import LeRobotEpisode, VideoSpan
from vita_data.formats.lerobot.info import INFO_FILE
from vita_data.formats.video.stream import VideoInfo, VideoStream, VideoTimes, scan_times, scan_video
from vita_data.types import CameraStream, Float64, Int64, JpegFrame, RawTree, ResizeMode, RgbFrame

TIME = "timestamp"
_TOLERANCE = 0.25
"""In frames: how far the time stamps of a row and of its frame may differ."""
_BATCH_ROWS = 16


class VideoScans:
    """Lists the frames of video files, each file once; episodes that share a file share its list."""

    def __init__(self, raw: RawTree) -> None:
        self._raw = raw
        self._times: dict[str, VideoTimes] = {}

    def times(self, name: str) -> VideoTimes:
        """List when a file shows its frames.

        Raises:
            EpisodeError: as in `scan_times`.
        """
        if name not in self._times:
            self._times[name] = scan_times(self._raw.local_path(name), name=name)
        return self._times[name]


def open_camera(
    raw: RawTree,
    episode: LeRobotEpisode,
    key: str,
    *,
    table: pa.Table | None = None,
    scans: VideoScans | None = None,
) -> CameraStream:
    """Open one camera; frame t in presentation order belongs to row t.

    Args:
        raw: the raw tree.
        episode: the entry of the list.
        key: the video or image feature.
        table: the rows with their time stamps, needed if several episodes share a video.
        scans: lists of frames that were made before.

    Raises:
        EpisodeError: the camera or file does not exist, or its frames are not those of the rows.
    """
    if key in episode.images:
        return TableImages(raw, episode, key)
    span = episode.videos.get(key)
    if span is None:
        raise EpisodeError(
            f"{episode.table}: video of {key!r} not found; the episode has {', '.join(episode.cameras) or 'none'}"
        )
    if not raw.exists(span.path):
        raise EpisodeError(
            f"{span.path}: the video of {key!r} is listed in {INFO_FILE} but missing; fetch the whole dataset"
        )
    if span.stop_s is None:
        return _whole_video(raw, episode, span.path)
    if table is None:
        raise TypeError("a video of several episodes needs the rows of the episode")
    time_s = read_column(table, TIME, width=1, name=episode.table)[:, 0]
    times = (scans or VideoScans(raw)).times(span.path)
    frames = _frames_at(times, time_s, span, name=f"{span.path}, episode {episode.index}")
    info = VideoInfo(
        hz=times.hz,
        step_index=np.arange(len(frames)),
        frame_index=frames,
        num_shown=len(times.time_s),
        packets=times.packets,
    )
    return VideoStream(raw.local_path(span.path), info=info, name=span.path)


def _whole_video(raw: RawTree, episode: LeRobotEpisode, name: str) -> VideoStream:
    local = raw.local_path(name)
    info = scan_video(local, name=name)
    if info.num_shown != episode.num_steps:
        raise EpisodeError(f"{name}: the video has {info.num_shown} frames for {episode.num_steps} rows")
    rows = np.arange(info.num_shown)
    return VideoStream(local, info=replace(info, step_index=rows, frame_index=rows), name=name)


def _frames_at(times: VideoTimes, time_s: Float64, span: VideoSpan, *, name: str) -> Int64:
    """Find the shown frame [T] of each row by its time stamp [T], relative to the start of the span.

    Raises:
        EpisodeError: the span has another length than the rows, a row has no frame of its time, or two rows have the
            same frame.
    """
    length_s = (span.stop_s or 0.0) - span.start_s
    if abs(length_s * times.hz - len(time_s)) > 0.5:
        num_frames = round(length_s * times.hz)
        raise EpisodeError(
            f"{name}: the listed span of {length_s:.3f} s has {num_frames} frames for {len(time_s)} rows"
        )
    wanted_s = span.start_s + time_s
    after = np.clip(np.searchsorted(times.time_s, wanted_s), 1, max(len(times.time_s) - 1, 1))
    after = np.minimum(after, len(times.time_s) - 1)
    before = np.maximum(after - 1, 0)
    is_before = wanted_s - times.time_s[before] < times.time_s[after] - wanted_s
    frames = np.where(is_before, before, after)
    is_off = ~(np.abs(times.time_s[frames] - wanted_s) * times.hz <= _TOLERANCE)  # NaN is off too
    if is_off.any():
        row = int(np.argmax(is_off))
        raise EpisodeError(
            f"{name}: row {row} is at {wanted_s[row]:.4f} s, but the nearest frame of the video is at "
            f"{times.time_s[frames[row]]:.4f} s (it has {len(times.time_s)} frames at {times.hz:g} Hz)"
        )
    if not np.all(np.diff(frames) > 0):
        row = int(np.argmin(np.diff(frames) > 0))
        raise EpisodeError(
            f"{name}: rows {row} and {row + 1} have the same frame, or their time stamps do not increase"
        )
    return np.asarray(frames, np.int64)


class TableImages:
    """A camera whose images are in the table; they are read in small batches when they are asked for."""

    def __init__(self, raw: RawTree, episode: LeRobotEpisode, key: str) -> None:
        self._raw, self._episode, self._key = raw, episode, key

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return self._episode.num_steps

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of ascending `rows`: JPEG as stored, PNG decoded at its own size.

        Raises:
            EpisodeError: the table cannot be read, or has no image bytes.
        """
        wanted = set(rows)
        with open_rows(self._raw, self._episode) as (file, span):
            if self._key not in file.schema_arrow.names:
                raise EpisodeError(f"{self._episode.table}: column {self._key!r} not found")
            row = -span.start
            batches = file.iter_batches(_BATCH_ROWS, row_groups=list(span.groups), columns=[self._key])
            for batch in batches:
                here = [number for number in range(batch.num_rows) if row + number in wanted]
                if here:
                    yield from (encoded_frame(data) for data in self._bytes(batch.column(self._key).take(here)))
                row += batch.num_rows
                if row > max(wanted, default=-1):
                    return

    def _bytes(self, column: pa.Array) -> Iterator[bytes]:
        kind = column.type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            column = column.field("bytes")
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            raise EpisodeError(f"{self._episode.table}: column {self._key!r} is {kind}, expected images as bytes")
        if column.null_count:
            raise EpisodeError(
                f"{self._episode.table}: column {self._key!r} has rows without image bytes, only with paths; write the "
                "dataset with its images embedded"
            )
        yield from column.to_pylist()
