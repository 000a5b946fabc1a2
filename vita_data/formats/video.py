"""One video file as a stream of 256x256 RGB frames, with the times that the file itself gives its frames.

Header rates and frame counts are never used: Matroska and WebM say 0 and others are wrong. Decoding is sequential, one
pass and one thread a file, since a build runs a process a core. Many windows of one long video: `video_windows`; what a
damaged packet costs: `video_decode`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError
from vita_data.formats.video_decode import DamagedFrame, decode_frames, frame_time, open_video
from vita_data.types import IMAGE_SIZE, Float64, Image, Int64, JpegFrame, ResizeMode, RgbFrame

LOST_FRAME = JpegFrame(b"")
"""The row of a picture that does not decode: bytes that are no image, which who stores frames turns into a drop."""

# Formats whose packet list is the list of shown frames with their times. AVI stores no times and may hold packets
# that show nothing; VP8 keeps its hidden reference frames as packets of their own (VP9 packs them with a shown one).
_LISTING_FORMATS = ("matroska", "mp4")
_HIDING_CODECS = ("vp8",)
_TRUNCATION_S = 0.5
_TRUNCATION_SHARE = 0.05
_TURNS = {270: ("transpose=clock",), 90: ("transpose=cclock",), 180: ("hflip", "vflip")}
_TOY_OPTIONS = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTimes:
    """When a video shows each of its frames."""

    hz: float
    """(n - 1) / (last PTS - first PTS) over all n shown frames."""
    time_s: Float64
    """[n] seconds after the first shown frame, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """When a video shows its frames: the rows an episode makes of them."""

    hz: float
    """(n - 1) / (last PTS - first PTS) over all n shown frames."""
    step_index: Int64
    """[T] round((PTS - first PTS) * hz), strictly increasing."""
    frame_index: Int64
    """[T] which shown frame each row is, in presentation order."""
    num_shown: int
    """Frames that the file shows."""


def scan_times(path: str, *, name: str) -> VideoTimes:
    """List the times of a file's shown frames, from its packets where those tell and by decoding where they do not.

    Source: vita_data/README.md fixes hz.
    Assumes: a single frame, which has no rate, counts as 1 Hz; a file is truncated if its frames end more than 0.5 s
        and 5 % before the declared end.

    Args:
        path: what the decoder opens.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: the file cannot be opened, has no video, or ends before its declared duration.
    """
    listed = _listed_times(path, name)
    times = sorted(_decoded_times(path, name) if listed is None else listed)
    if not times:
        raise EpisodeError(f"{name}: no frame in the video stream")
    time_s = np.array([float(time - times[0]) for time in times])
    return VideoTimes(hz=(len(times) - 1) / time_s[-1] if time_s[-1] > 0 else 1.0, time_s=time_s)


def scan_video(path: str, *, name: str) -> VideoInfo:
    """List the rows that an episode makes of a whole file.

    Source: vita_data/README.md fixes step_index.
    Assumes: of two frames that round to one step (variable rate) the first is the row.

    Args:
        path: what the decoder opens.
        name: the path relative to the raw tree, for messages.

    Raises:
        EpisodeError: as `scan_times`.
    """
    times = scan_times(path, name=name)
    step_index, frame_index = frame_steps(times.time_s, times.hz)
    return VideoInfo(hz=times.hz, step_index=step_index, frame_index=frame_index, num_shown=len(times.time_s))


def frame_steps(time_s: Float64, hz: float) -> tuple[Int64, Int64]:
    """Number frames by their times: the distinct steps [T] and the first frame [T] of each."""
    return np.unique(np.rint(time_s * hz).astype(np.int64), return_index=True)


class VideoStream:
    """A scanned video file as a `CameraStream`: row t is the frame of `info.step_index[t]`."""

    def __init__(self, path: str, *, info: VideoInfo, name: str) -> None:
        self._path, self._info, self._name = path, info, name

    @property
    def num_frames(self) -> int:
        """How many rows have a frame."""
        return len(self._info.frame_index)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield ascending `rows` as RGB [256, 256, 3], scaled straight from the decoded frame in one pass.

        The whole file is decoded whatever the rows, and the last frame comes out after the end was reached: a file
        that cannot be read to its end is a failed episode. A damaged frame is a `LOST_FRAME` (vita_data/README.md).

        Raises:
            EpisodeError: as `decode_frames`, or the file shows more or fewer frames than it lists.
        """
        wanted = set(self._info.frame_index[list(rows)].tolist())
        scale = frame_scaler(resize)
        held: JpegFrame | RgbFrame | None = None
        num_shown = 0
        for num_shown, frame in enumerate(decode_frames(self._path, self._name), start=1):
            if num_shown - 1 in wanted:
                if held is not None:
                    yield held
                held = LOST_FRAME if isinstance(frame, DamagedFrame) else RgbFrame(scale(frame))
        if num_shown != self._info.num_shown:
            raise EpisodeError(f"{self._name}: {num_shown} frames decode where the file lists {self._info.num_shown}")
        if held is not None:
            yield held


def write_toy_video(path: str, frames: Iterable[Image], *, fps: int, codec: str = "libvpx-vp9") -> None:
    """Encode RGB frames [h, w, 3] of one size at `fps`; the suffix of `path` chooses the container."""
    # bitexact: no random track ids and no encoder version, so that a toy tree is the same every time
    with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=_TOY_OPTIONS.get(codec, {}))
        if not isinstance(stream, AvVideoStream):
            raise ValueError(f"{codec} is no video codec")
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _decoded_times(path: str, name: str) -> list[Fraction]:
    return [frame_time(frame, index, name) for index, frame in enumerate(decode_frames(path, name))]


def _listed_times(path: str, name: str) -> list[Fraction] | None:
    """Times of the shown frames from the packets alone; None where packets do not tell.

    Raises:
        EpisodeError: the packets end too early.
    """
    ends: dict[int, Fraction] = {}
    shown: list[Fraction | None] = []
    with open_video(path, name) as (container, stream):
        try:
            for packet in container.demux():
                if packet.pts is None and packet.size == 0:
                    continue
                ticks = packet.dts if packet.pts is None else packet.pts
                if ticks is not None:
                    at = ticks * packet.time_base
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, at), at)
                if packet.stream_index == stream.index and not packet.is_discard:
                    shown.append(None if packet.pts is None else packet.pts * packet.time_base)
        except av.FFmpegError as error:
            raise EpisodeError(f"{name}: unreadable after {len(shown)} frames ({error.strerror})") from error
        _refuse_truncated(container, stream, ends, num_frames=len(shown), name=name)
        tells = any(word in container.format.name for word in _LISTING_FORMATS)
        tells = tells and stream.codec_context.name not in _HIDING_CODECS
    times = [time for time in shown if time is not None]
    return times if tells and len(set(times)) == len(shown) else None


def _refuse_truncated(
    container: av.container.InputContainer,
    stream: AvVideoStream,
    ends: dict[int, Fraction],
    *,
    num_frames: int,
    name: str,
) -> None:
    """Compare the last packet with the declared end: a WebM or MKV cut in half reads without any error."""
    declared_s, end_s = _declared_s(stream), float(ends.get(stream.index, 0))
    if declared_s is None and container.duration is not None:
        # the container's duration covers its longest stream, which may be the sound
        declared_s, end_s = container.duration / av.time_base, float(max(ends.values(), default=Fraction(0)))
    # the last frame is shown for about one mean interval
    end_s += end_s / max(num_frames - 1, 1)
    if declared_s is not None and declared_s - end_s > max(_TRUNCATION_S, _TRUNCATION_SHARE * declared_s):
        raise EpisodeError(
            f"{name}: truncated: {num_frames} frames end at {end_s:.2f} s of the declared "
            f"{declared_s:.2f} s; fetch the file again"
        )


def _declared_s(stream: AvVideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return None if tag is None else 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])


def frame_scaler(resize: ResizeMode) -> Callable[[av.VideoFrame], Image]:
    """Make a function from a decoded frame to RGB [256, 256, 3]; a frame of another shape gets its own graph."""
    graphs: dict[tuple[int, int, str, int], av.filter.Graph] = {}

    def scale(frame: av.VideoFrame) -> Image:
        shape = (frame.width, frame.height, frame.format.name, round(frame.rotation) % 360)
        if shape not in graphs:
            graphs[shape] = _graph(frame, resize)
        graphs[shape].vpush(frame)
        return np.asarray(graphs[shape].vpull().to_ndarray(), np.uint8)

    return scale


def _graph(frame: av.VideoFrame, resize: ResizeMode) -> av.filter.Graph:
    """Crop, scale and turn in swscale's own formats: no full-size RGB image is ever made.

    Area when shrinking, bicubic when a side grows; quarter turns of the display matrix are
    honoured, its mirrorings are not; pixels count as square.
    """
    width, height, steps = frame.width, frame.height, []
    if resize is ResizeMode.CENTER_CROP:
        width = height = min(width, height)
        steps.append(f"crop={width}:{height}")
    kernel = "area" if min(width, height) >= IMAGE_SIZE else "bicubic"
    steps += [f"scale={IMAGE_SIZE}:{IMAGE_SIZE}:flags={kernel}", "format=rgb24"]
    steps += _TURNS.get(round(frame.rotation) % 360, ())
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
        )
    ]
    nodes += [graph.add(*step.split("=", 1)) for step in steps]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph
