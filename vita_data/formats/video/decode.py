"""The shown frames of a video file, in order, with those that are lost to damage told from those that are whole.

A single frame that does not decode costs the clips that show it; a file that cannot be opened or read to its end fails
(vita_data/README.md). Rows, rates and scaling are the business of `video`.
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

# What FFmpeg answers of a damaged file as well as of a machine that fails.
_SAID_OF_DAMAGE = frozenset({errno.EIO, errno.ENOMEM, errno.EPERM, errno.EAGAIN, errno.ENODEV, errno.ENOSPC})


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFrame:
    """A shown frame whose picture is lost."""

    time: Fraction | None
    """Seconds in the clock of the file; None where the file does not tell."""


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
    """A video file, which may stay open between two uses: opening one takes the time of several frames."""

    def __init__(self, path: str, name: str) -> None:
        """Name a file; nothing is opened yet.

        Args:
            path: what the decoder opens.
            name: the path relative to the raw tree, for messages.
        """
        self.path, self.name = path, name
        self._kept: av.container.InputContainer | None = None
        self._closing: finalize[..., VideoFile] | None = None

    @contextmanager
    def opened(self) -> Iterator[tuple[av.container.InputContainer, AvVideoStream]]:
        """Give the file and its first video stream, for a `with` block; one that was kept stands where it was left.

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
            yield container, streams[0]
        finally:
            if self._kept is not container:
                container.close()

    def keep(self, container: av.container.InputContainer) -> None:
        """Leave an opened file open for the next use, of which there may be none."""
        self._kept, self._closing = container, finalize(self, container.close)

    def _open(self) -> av.container.InputContainer:
        try:
            return av.open(self.path)
        except (av.FFmpegError, OSError) as error:
            refuse_machine_fault(error, self.path, self.name)
            what = unreadable(self.path, name=self.name, reason=str(error.strerror), own={"video"})
            raise EpisodeError(f"{self.name}: cannot be opened as video {what}") from None


def refuse_machine_fault(error: Exception, path: str, name: str) -> None:
    """Ask the system whether a file can be read that FFmpeg cannot: it takes a fault of the disk for damage, and more
    than one of its demuxers calls damage an I/O error.

    An error that is raised of it afterwards must not name it as its cause (`from None`): whoever judges that error
    next would take the errno for the machine's.

    Raises:
        StorageError: the machine is to blame.
    """
    if getattr(error, "errno", None) not in _SAID_OF_DAMAGE:
        raise_machine_fault(error, name)
    require_readable(path, name=name)


def decode_frames(path: str, name: str) -> Iterator[ShownFrame]:
    """Yield every shown frame in presentation order, which is the order that decoders put out.

    A packet that does not decode costs more than its own frame: decoders go on from whatever they still hold, often
    without a word. So all frames from the damage to the next key frame count as damaged. Packets before the first key
    frame are not shown: a file that was cut there does not hold the pictures that they are made from.

    Assumes: where no key frame follows the damage, the file cannot be read to its end.

    Raises:
        EpisodeError: the file cannot be opened or read to its end.
    """
    index, damage, waiting = 0, None, dict[int, Fraction]()
    with open_video(path, name) as (container, stream):
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1  # some decoders of AV1 heed this alone
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
    """Leave out the packets before the first key frame; some decoders make grey pictures of them without a word.

    Assumes: a file whose first packet decodes to an intra picture, or without any key frame (gradual refresh), begins
        with its first packet, whatever its marks say.
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
    """What is known of the frames between a packet that does not decode and the next key frame."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self._last_pts: int | None = None
        self._untimed = 0
        self._times: list[Fraction] = []

    def spread(self, packet: "av.Packet[AvVideoStream]") -> None:
        """Take in a packet that does not decode."""
        if packet.pts is not None:
            self._last_pts = max(packet.pts, self._last_pts or packet.pts)
        elif packet.size:
            # such a packet waits for no frame, so that its own is counted here
            self._count(None if packet.dts is None else packet.dts * packet.time_base)

    def add(self, frame: av.VideoFrame, waiting: dict[int, Fraction]) -> None:
        """Take in a frame that was decoded from what is left."""
        ticks = frame.dts if frame.pts is None else frame.pts
        if frame.pts is not None:
            waiting.pop(frame.pts, None)
        self._count(None if ticks is None or frame.time_base is None else ticks * frame.time_base)

    def ends_at(self, frame: av.VideoFrame) -> bool:
        """Tell whether a frame is whole again: a key frame that is shown after all that was lost."""
        later = self._last_pts is None or frame.pts is None or frame.pts > self._last_pts
        return bool(frame.key_frame) and not frame.is_corrupt and later

    def frames(self, waiting: dict[int, Fraction], *, before: av.VideoFrame) -> Iterator[DamagedFrame]:
        """List the lost frames in presentation order: those that came out, and those that never did."""
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
    """Read the packets of a stream from where the file stands; an empty one without a time ends them.

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
    """Decode one packet, or drain the decoder where there is none: the frames that come out, and what is wrong."""
    try:
        return decoder.decode(packet), ""
    except av.FFmpegError as error:
        return [], str(error.strerror)


def frame_time(frame: ShownFrame, index: int, name: str) -> Fraction:
    """Read a shown frame's time in the clock of its file, in seconds.

    Raises:
        EpisodeError: the frame carries no time.
    """
    if isinstance(frame, DamagedFrame):
        if frame.time is None:
            raise EpisodeError(f"{name}: frame {index} is damaged and has no time stamp")
        return frame.time
    ticks = frame.dts if frame.pts is None else frame.pts
    if ticks is None or frame.time_base is None:
        raise EpisodeError(f"{name}: frame {index} has no time stamp")
    return ticks * frame.time_base
