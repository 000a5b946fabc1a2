"""Many, possibly overlapping, windows of one long video, all served by a single sequential decode.

A video of an hour is never held, nor is it opened or sought in once per window: the decoder runs forward as windows are
read in the order of their starts, and a frame that a later window may still ask for is kept as 256x256 RGB. What the
windows mean, and which of them are wanted, is the source's business.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.video import LOST_FRAME, VideoTimes, frame_scaler
from vita_data.formats.video_decode import DamagedFrame, ShownFrame, decode_frames, frame_time
from vita_data.types import Int64, JpegFrame, ResizeMode, RgbFrame

_MAX_HELD = 900


class VideoPass:
    """One forward pass over a video file for the windows cut from it.

    Windows read in the order they were given cost one decode of each frame up to the last one asked for. A frame that
    has passed and is no longer held (a stream that is read late or twice, a window overlapping another by more than
    `max_held` frames) starts the pass again from the top: slower, never wrong.
    """

    def __init__(
        self, path: str, *, times: VideoTimes, windows: Sequence[Int64], name: str, max_held: int = _MAX_HELD
    ) -> None:
        """Prepare the pass; nothing is opened yet.

        Args:
            path: what the decoder opens.
            times: the scan of the same file.
            windows: the shown frames [T] that each window's rows are, ascending; in the order they will be read.
            name: the path relative to the raw tree, for messages.
            max_held: most frames kept for later windows; a frame takes 196,608 bytes.
        """
        self._path, self._times, self._name, self._max_held = path, times, name, max_held
        self._windows = windows
        self._last_user = np.full(len(times.time_s), -1, np.int64)
        for number, frames in enumerate(windows):
            self._last_user[frames] = number
        self._held: dict[int, JpegFrame | RgbFrame] = {}
        self._failure: EpisodeError | None = None
        self._failed_at = len(times.time_s)
        self._resize = ResizeMode.PLAIN
        self._frames: Iterator[ShownFrame] = iter(())
        self._rewind(self._resize)

    @property
    def num_held(self) -> int:
        """Frames kept at this moment for windows that were not read yet."""
        return len(self._held)

    def stream(self, number: int) -> "WindowStream":
        """Give window `number` as a camera."""
        return WindowStream(self, number=number, frames=self._windows[number])

    def picture(self, frame: int, *, reader: int, resize: ResizeMode) -> JpegFrame | RgbFrame:
        """Decode forward to a shown frame and give it as RGB [256, 256, 3], a damaged one as `LOST_FRAME`.

        Args:
            frame: which shown frame, in presentation order.
            reader: the window that asks; frames that only it and earlier ones use are let go.
            resize: how the image becomes square.

        Raises:
            EpisodeError: the file does not decode as far as this frame, or not as it was listed.
        """
        if self._failure is not None and frame >= self._failed_at:
            # later windows fail at once instead of decoding up to the damage again
            raise self._failure
        if resize is not self._resize or (frame < self._next and frame not in self._held):
            self._rewind(resize)
        for past in [held for held in self._held if self._last_user[held] < reader]:
            del self._held[past]
        if frame in self._held:
            return self._held[frame]
        while True:
            index, decoded = self._next, self._decode_next()
            if self._last_user[index] > reader and len(self._held) < self._max_held:
                self._held[index] = self._converted(decoded)
            if index == frame:
                return self._held[index] if index in self._held else self._converted(decoded)

    def _rewind(self, resize: ResizeMode) -> None:
        self._resize, self._scale = resize, frame_scaler(resize)
        self._frames, self._next, self._first_time = decode_frames(self._path, self._name), 0, Fraction(0)
        self._held.clear()

    def _converted(self, frame: ShownFrame) -> JpegFrame | RgbFrame:
        return LOST_FRAME if isinstance(frame, DamagedFrame) else RgbFrame(self._scale(frame))

    def _decode_next(self) -> ShownFrame:
        try:
            frame = self._checked(next(self._frames, None))
        except EpisodeError as error:
            self._failure, self._failed_at = error, self._next
            raise
        self._next += 1
        return frame

    def _checked(self, frame: ShownFrame | None) -> ShownFrame:
        """Refuse a frame that is not the one listed at its place: a decoder may leave out a damaged one in silence."""
        index, listed = self._next, self._times.time_s
        if frame is None:
            raise EpisodeError(f"{self._name}: {index} frames decode where the file lists {len(listed)}")
        time = frame_time(frame, index, self._name)
        if index == 0:
            self._first_time = time
        shown_s = float(time - self._first_time)
        if abs(shown_s - listed[index]) * self._times.hz > 0.5:
            raise EpisodeError(
                f"{self._name}: frame {index} is shown at {shown_s:.3f} s where the file lists {listed[index]:.3f} s"
            )
        return frame


class WindowStream:
    """One window of a `VideoPass` as a `CameraStream`: row t is the t-th frame of the window."""

    def __init__(self, video: VideoPass, *, number: int, frames: Int64) -> None:
        self._video, self._number, self._frames = video, number, frames

    @property
    def num_frames(self) -> int:
        """How many rows have a frame."""
        return len(self._frames)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield ascending `rows` as RGB [256, 256, 3], damaged ones as `LOST_FRAME`.

        Frames that nobody asks for are decoded but not converted.

        Raises:
            EpisodeError: the video does not decode as far as a row.
        """
        for row in rows:
            yield self._video.picture(int(self._frames[row]), reader=self._number, resize=resize)
