"""Video files of one camera: several episodes a file, cut by size."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from vita_data.export.tables import FilePlace, next_place
from vita_data.formats.lerobot.layout_v3 import VIDEO_PATH
from vita_data.types import IMAGE_SIZE, Image

# Like lerobot's own videos, every second frame is a key frame, so that single frames are read fast. Frames are stored
# in the order in which they are shown: otherwise containers begin with an edit list, which some readers ignore.
_OPTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "h264": ("libx264", {"crf": "20", "g": "2", "bf": "0"}),
    "av1": ("libsvtav1", {"crf": "30", "g": "2", "preset": "10", "svtav1-params": "lp=1"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeVideo:
    """Where the video of an episode is."""

    place: FilePlace
    start_s: float
    stop_s: float


class VideoFiles:
    """Writes the videos of one camera; `close` completes the last file."""

    def __init__(self, root: Path, key: str, *, rate: Fraction, codec: str, max_bytes: float) -> None:
        """Prepare; the first episode opens the first file.

        Args:
            root: the dataset's folder.
            key: the camera's feature.
            rate: frames per second.
            codec: h264 or av1.
            max_bytes: a file that would grow larger ends; the next episode begins another one.
        """
        self._root, self._key, self._rate, self._max_bytes = root, key, rate, max_bytes
        self._encoder, self._encoder_options = _OPTIONS[codec]
        self._place: FilePlace | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._num_frames = self._num_bytes = 0

    def write(self, frames: Iterable[Image], num_frames: int) -> EpisodeVideo:
        """Encode the frames of one episode, which begins with a key frame."""
        stream = self._open(num_frames)
        first = self._num_frames
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = self._num_frames, 1 / self._rate
            frame.pict_type = PictureType.I if self._num_frames == first else PictureType.NONE
            self._mux(stream, frame)
            self._num_frames += 1
        if self._place is None or self._num_frames - first != num_frames:
            raise ValueError(f"{self._key}: expected {num_frames} frames, got {self._num_frames - first}")
        return EpisodeVideo(
            place=self._place, start_s=float(first / self._rate), stop_s=float(self._num_frames / self._rate)
        )

    def close(self) -> None:
        """Complete the present file."""
        container, stream = self._container, self._stream
        self._container = self._stream = None
        if container is not None and stream is not None:
            container.mux(stream.encode(None))
            container.close()

    def _open(self, num_frames: int) -> VideoStream:
        """Return the stream to write to: that of the next file if this one would become too large."""
        if self._stream is not None:
            expected = self._num_bytes * (1 + num_frames / self._num_frames)
            if expected < self._max_bytes:
                return self._stream
            self.close()
        os.environ.setdefault("SVT_LOG", "1")  # errors only: the AV1 encoder describes itself on stderr otherwise
        self._place = next_place(self._place)
        self._num_frames = self._num_bytes = 0
        path = self._root / VIDEO_PATH.format(
            video_key=self._key, chunk_index=self._place.chunk, file_index=self._place.file
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # bitexact: no encoder version and no time of writing, so that the same shards give the same bytes
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        stream = self._container.add_stream(self._encoder, rate=self._rate, options=dict(self._encoder_options))
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{self._encoder} is not a video encoder")
        stream.width = stream.height = IMAGE_SIZE
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        self._stream = stream
        return stream

    def _mux(self, stream: VideoStream, frame: av.VideoFrame) -> None:
        for packet in stream.encode(frame):
            self._num_bytes += packet.size
            if self._container is not None:
                self._container.mux(packet)
