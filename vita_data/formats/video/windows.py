"""Many, possibly overlapping, windows of one long video, all read in a single forward pass.

A video of an hour is never held in memory, nor opened or sought once per window: the decoder runs forward as windows
are read in the order of their starts, and frames that a later window may need are kept as 256x256 RGB. The source
decides what the windows mean and which of them are read.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.video.decode import DamagedFrame, ShownFrame, decode_frames, frame_time
from vita_data.formats.video.gops import decode_wanted
from vita_data.formats.video.scale import frame_scaler
from vita_data.formats.video.stream import LOST_FRAME, VideoTimes
from vita_data.types import Int64, JpegFrame, ResizeMode, RgbFrame

_MAX_HELD = 900


class VideoPass:
    """One forward pass over a video file for the windows cut from it.

    The rows that will be read of a window are not known in advance. If the first read is of rows one second apart, such
    rows are expected of all windows, else every row. Windows that are read in the given order then decode each expected
    frame once, and no more of the file than necessary (`video_gops`). A frame that was not expected, or that has passed
    and is no longer held (a stream read late or twice, windows that overlap by more than `max_held` frames), starts
    another pass, which is slower but still correct.
    """

    def __init__(
        self, path: str, *, times: VideoTimes, windows: Sequence[Int64], name: str, max_held: int = _MAX_HELD
    ) -> None:
        """Prepare the pass; nothing is opened yet.

        Args:
            path: the path for the decoder.
            times: the scan of the same file.
            windows: the shown frames [T] of each window's rows, ascending; windows in the order they will be read.
            name: the path relative to the raw tree, for messages.
            max_held: maximum number of frames kept for later windows; a frame takes 196,608 bytes.
        """
        self._path, self._times, self._name, self._max_held = path, times, name, max_held
        self._windows = windows
        self._seconds = [_second_apart(frames, times) for frames in windows]
        self._last_user = np.full(len(times.time_s), -1, np.int64)
        self._is_coming = np.zeros(len(times.time_s), np.bool_)
        self._held: dict[int, JpegFrame | RgbFrame] = {}
        self._failure: EpisodeError | None = None
        self._failed_at = len(times.time_s)
        self._resize = ResizeMode.PLAIN
        self._frames: Iterator[tuple[int, ShownFrame]] = iter(())

    @property
    def num_held(self) -> int:
        """The number of frames currently kept for windows that were not read yet."""
        return len(self._held)

    def stream(self, number: int) -> "WindowStream":
        """Return window `number` as a camera."""
        return WindowStream(self, number=number, frames=self._windows[number])

    def pictures(self, frames: Int64, *, reader: int, resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Decode forward to each of some shown frames and yield it as RGB [256, 256, 3], a damaged one as `LOST_FRAME`.

        Args:
            frames: the shown frames, ascending.
            reader: the window that reads; frames that only it and earlier windows use are released.
            resize: how the image is made square.

        Raises:
            EpisodeError: the file cannot be decoded up to a frame, or differs from the list.
        """
        for frame in frames.tolist():
            if self._failure is not None and frame >= self._failed_at:
                # later windows fail at once instead of decoding up to the damage again
                raise self._failure
            if resize is not self._resize:
                self._resize = resize
                self._held.clear()
                self._is_coming[:] = False
            for past in [held for held in self._held if self._last_user[held] < reader]:
                del self._held[past]
            if frame not in self._held and not self._is_coming[frame]:
                self._start(frames, frame, reader)
            yield self._held[frame] if frame in self._held else self._decode_to(frame, reader)

    def _start(self, frames: Int64, first: int, reader: int) -> None:
        """Start a pass for a window's frames from `first` on, and for the frames expected of later windows."""
        expected = self._seconds if np.array_equal(frames, self._seconds[reader]) else self._windows
        self._last_user[:] = -1
        self._last_user[frames[frames >= first]] = reader
        for number in range(reader + 1, len(expected)):
            self._last_user[expected[number]] = number
        self._is_coming = self._last_user >= 0
        self._is_coming[list(self._held)] = False
        wanted, packets = np.flatnonzero(self._is_coming), self._times.packets
        self._frames = self._all_frames(wanted) if packets is None else decode_wanted(packets, wanted)
        self._scale = frame_scaler(self._resize)

    def _decode_to(self, frame: int, reader: int) -> JpegFrame | RgbFrame:
        while True:
            index, decoded = self._decode_next()
            is_kept = self._last_user[index] > reader and len(self._held) < self._max_held
            if is_kept or index == frame:
                picture = LOST_FRAME if isinstance(decoded, DamagedFrame) else RgbFrame(self._scale(decoded))
            if is_kept:
                self._held[index] = picture
            if index == frame:
                return picture

    def _decode_next(self) -> tuple[int, ShownFrame]:
        try:
            index, decoded = next(self._frames)
        except EpisodeError as error:
            self._failure, self._failed_at = error, int(np.argmax(self._is_coming))
            raise
        self._is_coming[index] = False
        return index, decoded

    def _all_frames(self, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        """Decode a file whose packets do not tell which frame is which.

        A decoder may silently skip a damaged frame, so each frame is compared with its entry in the list.
        """
        listed, is_wanted, num_frames, first_time = self._times.time_s, set(wanted.tolist()), 0, Fraction(0)
        for index, frame in enumerate(decode_frames(self._path, self._name)):
            num_frames, time = index + 1, frame_time(frame, index, self._name)
            first_time = time if index == 0 else first_time
            shown_s = float(time - first_time)
            if index >= len(listed) or abs(shown_s - listed[index]) * self._times.hz > 0.5:
                place = f"{listed[index]:.3f} s" if index < len(listed) else "no more frames"
                raise EpisodeError(
                    f"{self._name}: frame {index} has the time {shown_s:.3f} s, but the file lists {place}"
                )
            if index in is_wanted:
                yield index, frame
        raise EpisodeError(f"{self._name}: {num_frames} frames decode, but the file lists {len(listed)}")


def _second_apart(frames: Int64, times: VideoTimes) -> Int64:
    """Choose the frames [K] of a window nearest to whole seconds after its first frame, counted in whole steps.

    A second without a frame within half a step is skipped, as in the keyframes that a build reads.
    """
    steps = times.step[frames].astype(np.float64)
    if not len(steps):
        return frames
    targets = steps[0] + np.arange(0, steps[-1] - steps[0] + 0.5, times.hz)
    after = np.minimum(np.searchsorted(steps, targets), len(steps) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(targets - steps[before] <= steps[after] - targets, before, after)
    return np.unique(frames[nearest[np.abs(steps[nearest] - targets) <= 0.5]])


class WindowStream:
    """One window of a `VideoPass` as a `CameraStream`: row t is the t-th frame of the window."""

    def __init__(self, video: VideoPass, *, number: int, frames: Int64) -> None:
        self._video, self._number, self._frames = video, number, frames

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return len(self._frames)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield ascending `rows` as RGB [256, 256, 3], damaged ones as `LOST_FRAME`.

        Raises:
            EpisodeError: the video cannot be decoded up to a row.
        """
        yield from self._video.pictures(self._frames[list(rows)], reader=self._number, resize=resize)
