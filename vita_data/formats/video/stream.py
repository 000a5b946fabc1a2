"""One video file as a stream of 256x256 RGB frames, with the time stamps of the file's frames.

Header rates and frame counts are never used: Matroska and WebM have 0 and others are wrong. Decoding is one forward
pass with one thread per file, since a build runs one process per core. Related modules: which packets a few frames need
(`video_gops`), many windows of one long video (`video_windows`), the effect of damaged packets (`video_decode`), and
conversion to 256x256 RGB (`video_scale`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError
from vita_data.formats.video.decode import DamagedFrame, ShownFrame, decode_frames, frame_time
from vita_data.formats.video.gops import decode_wanted
from vita_data.formats.video.packets import PacketList, scan_packets
from vita_data.formats.video.rate import number_frames
from vita_data.formats.video.scale import frame_scaler
from vita_data.types import Float64, Image, Int64, JpegFrame, ResizeMode, RgbFrame

LOST_FRAME = JpegFrame(b"")
"""The row of a picture that does not decode: bytes that are not an image, which storing turns into a drop."""

_TOY_OPTIONS = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTimes:
    """When a video shows each of its frames."""

    hz: float
    """Frames per second where they are regular (`number_frames`)."""
    time_s: Float64
    """[n] seconds after the first shown frame, ascending."""
    step: Int64
    """[n] round(time_s * hz), ascending; a pause is a gap."""
    packets: PacketList | None = None
    """The packets of the file; None if they do not tell which frames are shown."""

    def rows(self) -> tuple[Int64, Int64]:
        """List the distinct steps [T], and which shown frame [T] is the first of each."""
        return np.unique(self.step, return_index=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """When a video shows its frames, and the rows that an episode makes of them."""

    hz: float
    """See `VideoTimes`."""
    step_index: Int64
    """[T] the step of each row, strictly increasing."""
    frame_index: Int64
    """[T] which shown frame each row is, in presentation order."""
    num_shown: int
    """The number of frames that the file shows."""
    packets: PacketList | None = None
    """See `VideoTimes`."""


def scan_times(path: str, *, name: str) -> VideoTimes:
    """List the times of a file's shown frames, from its packets if possible, else by decoding.

    Source: vita_data/README.md defines hz.
    Assumes: a file is truncated if its frames end more than 0.5 s and 5 % before the declared end.

    Args:
        path: the path for the decoder.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: the file cannot be opened, has no video, ends before its declared duration, or its clock jumps
            back.
    """
    packets = scan_packets(path, name)
    times = _decoded_times(path, name) if packets is None else packets.shown_times()
    if not times:
        raise EpisodeError(f"{name}: the video stream contains no frames")
    time_s = np.array([float(time - times[0]) for time in times])
    hz, step = number_frames(time_s)
    return VideoTimes(hz=hz, time_s=time_s, step=step, packets=packets)


def scan_video(path: str, *, name: str) -> VideoInfo:
    """List the rows that an episode makes of a whole file.

    Source: vita_data/README.md defines step_index.
    Assumes: if two frames round to the same step (variable rate), the first one is the row.

    Args:
        path: the path for the decoder.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: as in `scan_times`.
    """
    times = scan_times(path, name=name)
    step_index, frame_index = times.rows()
    return VideoInfo(
        hz=times.hz,
        step_index=step_index,
        frame_index=frame_index,
        num_shown=len(times.time_s),
        packets=times.packets,
    )


class VideoStream:
    """A scanned video file as a `CameraStream`: row t is the frame of `info.step_index[t]`."""

    def __init__(self, path: str, *, info: VideoInfo, name: str) -> None:
        self._path, self._info, self._name = path, info, name

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame."""
        return len(self._info.frame_index)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield ascending `rows` as RGB [256, 256, 3], scaled directly from the decoded frame in one pass.

        A damaged frame is a `LOST_FRAME` (vita_data/README.md). If the packets tell which frames are shown, only the
        packets that the rows need are decoded; else the whole file is, and the last frame comes out at the end of the
        file.

        Raises:
            EpisodeError: as in `decode_frames` and `decode_wanted`, or the file shows more or fewer frames than it
                lists.
        """
        wanted, scale = self._info.frame_index[list(rows)], frame_scaler(resize)
        frames = self._all_frames(wanted) if self._info.packets is None else decode_wanted(self._info.packets, wanted)
        for _, frame in frames:
            yield LOST_FRAME if isinstance(frame, DamagedFrame) else RgbFrame(scale(frame))

    def _all_frames(self, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        chosen, held, num_shown = set(wanted.tolist()), None, 0
        for num_shown, frame in enumerate(decode_frames(self._path, self._name), start=1):
            if num_shown - 1 in chosen:
                if held is not None:
                    yield held
                held = num_shown - 1, frame
        if num_shown != self._info.num_shown:
            raise EpisodeError(f"{self._name}: {num_shown} frames decode, but the file lists {self._info.num_shown}")
        if held is not None:
            yield held


def write_toy_video(path: str, frames: Iterable[Image], *, fps: int, codec: str = "libvpx-vp9") -> None:
    """Encode RGB frames [h, w, 3] of one size at `fps`; the suffix of `path` chooses the container."""
    # bitexact: no random track ids and no encoder version, so that toy trees are identical
    with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=_TOY_OPTIONS.get(codec, {}))
        if not isinstance(stream, AvVideoStream):
            raise ValueError(f"{codec} is not a video codec")
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _decoded_times(path: str, name: str) -> list[Fraction]:
    """List when each frame is shown, sorted: some formats (AVI) swap the times of neighbours.

    Assumes: a time more than a second and four frames back is not a swap but another recording's clock.
    """
    times = [frame_time(frame, index, name) for index, frame in enumerate(decode_frames(path, name))]
    ascending = sorted(times)
    mean_s = (ascending[-1] - ascending[0]) / len(times) if times else Fraction(0)
    for index, (time, before) in enumerate(zip(times, accumulate(times, max), strict=True)):
        if before - time > 1 and before - time > 4 * mean_s:
            raise EpisodeError(
                f"{name}: expected ascending time stamps, got frame {index} at {float(time):.2f} s after one at "
                f"{float(before):.2f} s; recordings were joined without shifting their time stamps: split the file "
                "there, or join them again with new time stamps"
            )
    return ascending
