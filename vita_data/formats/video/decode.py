"""The shown frames of a video file, in order; frames lost to damage are told apart from intact ones.

A single frame that does not decode affects only the clips that show it; a file that cannot be opened or read to its end
fails (vita_data/README.md). Rows, rates and scaling are handled in `video`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile
from weakref import finalize

import av
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError, raise_machine_fault
from vita_data.formats.raw_tree.file_head import FETCH_AGAIN, look, require_readable, unreadable
from vita_data.formats.raw_tree.regular import require_regular
from vita_data.image_header import MAX_IMAGE_PIXELS

# Errors that FFmpeg returns both for a damaged file and for a fault of the machine.
_SAID_OF_DAMAGE = frozenset({errno.EIO, errno.ENOMEM, errno.EPERM, errno.EAGAIN, errno.ENODEV, errno.ENOSPC})


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFrame:
    """A shown frame whose picture is lost."""

    time: Fraction | None
    """Seconds in the file's clock; None if unknown."""


_FORMATS = (
    *("matroska", "webm", "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "avi", "mpegts", "mpeg", "mpegvideo", "ogg", "flv"),
    *("asf", "nut", "mxf", "dv", "m4v", "h264", "hevc", "ivf", "obu"),
    *("wav", "mp3", "aac", "flac"),  # opened to say that they have no video
)
"""Containers and streams of one file; FFmpeg's other formats include playlists, which name further files."""
_OPTIONS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}

ShownFrame = av.VideoFrame | DamagedFrame


@contextmanager
def open_video(path: str, name: str) -> Iterator[tuple[av.container.InputContainer, AvVideoStream]]:
    """Open a file and its first video stream, for a `with` block.

    Raises:
        EpisodeError: the file cannot be opened, or has no video.
    """
    with VideoFile(path, name).opened() as (container, stream):
        yield container, stream


class VideoFile:
    """A video file, which may stay open between two uses: opening one takes as long as decoding several frames."""

    def __init__(self, path: str, name: str) -> None:
        """Set the file; nothing is opened yet.

        Args:
            path: the path for the decoder.
            name: the path relative to the raw tree, for messages.
        """
        self.path, self.name = path, name
        self._kept: av.container.InputContainer | None = None
        self._closing: finalize[..., VideoFile] | None = None

    @contextmanager
    def opened(self) -> Iterator[tuple[av.container.InputContainer, AvVideoStream]]:
        """Give the file and its first video stream, for a `with` block; a kept file continues where it was left.

        Raises:
            EpisodeError: the file cannot be opened, or has no video.
        """
        container, self._kept = self._kept or self._open(), None
        if self._closing is not None:
            self._closing.detach()
        try:
            # a cover picture is a video stream of one frame
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not streams:
                require_readable(self.path, name=self.name)
                found = look(self.path, name=self.name, own={"video"})
                what = f" ({found.what}); {found.advice}" if found else ""
                if not what and not container.streams:
                    what = f", nor any other stream; {FETCH_AGAIN}"
                raise EpisodeError(f"{self.name}: the file contains no video stream{what}")
            self._limit(streams[0])
            yield container, streams[0]
        finally:
            if self._kept is not container:
                container.close()

    def _limit(self, stream: AvVideoStream) -> None:
        """Refuse a declared size that is too large; a later change of size makes a damaged frame."""
        context = stream.codec_context
        if context.width * context.height > MAX_IMAGE_PIXELS:
            raise EpisodeError(
                f"{self.name}: the video declares {context.width}x{context.height} pixels, expected at most "
                f"{MAX_IMAGE_PIXELS}; {FETCH_AGAIN}"
            )
        if not context.is_open:
            context.options = {**context.options, "max_pixels": str(MAX_IMAGE_PIXELS)}

    def keep(self, container: av.container.InputContainer) -> None:
        """Keep an opened file open for a possible next use."""
        self._kept, self._closing = container, finalize(self, container.close)

    def _open(self) -> av.container.InputContainer:
        try:
            require_regular(self.path, name=self.name)
            return av.open(self.path, options=dict(_OPTIONS))
        except (av.FFmpegError, OSError) as error:
            refuse_machine_fault(error, self.path, self.name)
            what = unreadable(self.path, name=self.name, reason=str(error.strerror), own={"video"})
            raise EpisodeError(f"{self.name}: cannot be opened as video {what}") from None


def refuse_machine_fault(error: Exception, path: str, name: str) -> None:
    """Check whether the system can read a file that FFmpeg cannot.

    FFmpeg takes a fault of the disk for damage, and several of its demuxers report damage as an I/O error.

    An error that is raised afterwards must not have FFmpeg's error as its cause (`from None`): a later check of that
    error would take the errno for a fault of the machine.

    Raises:
        StorageError: the machine is to blame.
    """
    if getattr(error, "errno", None) not in _SAID_OF_DAMAGE:
        raise_machine_fault(error, name)
    require_readable(path, name=name)


def decode_frames(path: str, name: str) -> Iterator[ShownFrame]:
    """Yield every shown frame in presentation order, which is the order of decoders' output.

    A packet that does not decode affects more than its own frame: decoders continue with whatever they still have,
    often without an error. So all frames from the damage to the next key frame count as damaged. Packets before the
    first key frame are not shown: a file that was cut there lacks the pictures that they depend on.

    Assumes: if no key frame follows the damage, the file cannot be read to its end.

    Raises:
        EpisodeError: the file cannot be opened or read to its end.
    """
    index, damage, waiting = 0, None, dict[int, Fraction]()
    with open_video(path, name) as (container, stream):
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1  # some AV1 decoders obey only this setting
        for packet in _without_lead_in(demux_video(container, stream, name), path, name):
            if packet.pts is not None and packet.size and not packet.is_discard:
                waiting[packet.pts] = packet.pts * packet.time_base
            frames, fault = decode_packet(packet, stream.codec_context)
            if fault:
                damage = damage or _Damage(fault)
                damage.spread(packet)
            for frame in frames:
                if frame.is_corrupt:
                    damage = damage or _Damage("the decoder had to conceal missing parts")
                if damage is not None and not damage.ends_at(frame):
                    damage.add(frame, waiting)
                    continue
                shown: list[ShownFrame] = [*damage.frames(waiting, before=frame), frame] if damage else [frame]
                damage, index = None, index + len(shown)
                waiting = {pts: time for pts, time in waiting.items() if frame.pts is None or pts > frame.pts}
                yield from shown
        if damage is not None:
            raise EpisodeError(
                f"{name}: frame {index} cannot be decoded ({damage.fault}) and no key frame follows it; "
                "fetch the file again"
            )


def _without_lead_in(
    packets: Iterator["av.Packet[AvVideoStream]"], path: str, name: str
) -> Iterator["av.Packet[AvVideoStream]"]:
    """Skip the packets before the first key frame; some decoders silently make grey pictures of them.

    Assumes: a file whose first packet decodes to an intra picture, or that has no key frames (gradual refresh), starts
        with its first packet, whatever its flags say.
    """
    first = next(packets, None)
    if first is None:
        return iter(())
    packets = chain([first], packets)
    if first.is_keyframe or _starts_intra(path, name, first.pts) or not _has_key(path, name):
        return packets
    return dropwhile(lambda packet: not packet.is_keyframe, packets)


def _starts_intra(path: str, name: str, first_pts: int | None) -> bool:
    with open_video(path, name) as (container, stream):
        stream.thread_type = "NONE"
        for packet in demux_video(container, stream, name):
            for frame in decode_packet(packet, stream.codec_context)[0]:
                return frame.pts == first_pts and frame.pict_type is PictureType.I
    return False


def _has_key(path: str, name: str) -> bool:
    with open_video(path, name) as (container, stream):
        return any(packet.is_keyframe for packet in demux_video(container, stream, name))


class _Damage:
    """The frames between a packet that does not decode and the next key frame."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self._last_pts: int | None = None
        self._untimed = 0
        self._times: list[Fraction] = []

    def spread(self, packet: "av.Packet[AvVideoStream]") -> None:
        """Add a packet that does not decode."""
        if packet.pts is not None:
            self._last_pts = max(packet.pts, self._last_pts or packet.pts)
        elif packet.size:
            # no frame will come out for such a packet, so its frame is counted here
            self._count(None if packet.dts is None else packet.dts * packet.time_base)

    def add(self, frame: av.VideoFrame, waiting: dict[int, Fraction]) -> None:
        """Add a frame that was decoded from incomplete data."""
        ticks = frame.dts if frame.pts is None else frame.pts
        if frame.pts is not None:
            waiting.pop(frame.pts, None)
        self._count(None if ticks is None or frame.time_base is None else ticks * frame.time_base)

    def ends_at(self, frame: av.VideoFrame) -> bool:
        """Tell whether a frame ends the damage: a key frame that is shown after everything that was lost."""
        later = self._last_pts is None or frame.pts is None or frame.pts > self._last_pts
        return bool(frame.key_frame) and not frame.is_corrupt and later

    def frames(self, waiting: dict[int, Fraction], *, before: av.VideoFrame) -> Iterator[DamagedFrame]:
        """List the lost frames in presentation order: those that came out damaged, and those that never came out."""
        never = [time for pts, time in waiting.items() if before.pts is not None and pts < before.pts]
        yield from (DamagedFrame(time=time) for time in sorted([*self._times, *never]))
        yield from (DamagedFrame(time=None) for _ in range(self._untimed))

    def _count(self, time: Fraction | None) -> None:
        if time is None:
            self._untimed += 1
        else:
            self._times.append(time)


def demux_video(
    container: av.container.InputContainer, stream: AvVideoStream, name: str
) -> Iterator["av.Packet[AvVideoStream]"]:
    """Read the packets of a stream from the current position; an empty packet without a time ends them.

    Raises:
        EpisodeError: the file cannot be read to its end.
    """
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        refuse_machine_fault(error, container.name, name)
        what = unreadable(container.name, name=name, reason=str(error.strerror), own={"video"})
        raise EpisodeError(f"{name}: cannot be read to its end {what}") from None


def decode_packet(
    packet: "av.Packet[AvVideoStream] | None", decoder: VideoCodecContext
) -> tuple[list[av.VideoFrame], str]:
    """Decode one packet, or drain the decoder if it is None; return the frames and a description of any fault."""
    try:
        return decoder.decode(packet), ""
    except av.FFmpegError as error:
        return [], str(error.strerror)


def frame_time(frame: ShownFrame, index: int, name: str) -> Fraction:
    """Return a shown frame's time in its file's clock, in seconds.

    Raises:
        EpisodeError: the frame has no time stamp.
    """
    if isinstance(frame, DamagedFrame):
        if frame.time is None:
            raise EpisodeError(f"{name}: frame {index} is damaged and has no time stamp")
        return frame.time
    ticks = frame.dts if frame.pts is None else frame.pts
    if ticks is None or frame.time_base is None:
        raise EpisodeError(f"{name}: frame {index} has no time stamp")
    return ticks * frame.time_base
