"""Decodes some shown frames of a video file from only the packets they need, with the pixels of a full decode.

A group of pictures (GOP) is decoded from its key frame to its last wanted packet; a GOP without wanted frames is
skipped. The list of packets comes from a scan (`video.scan_times`); damage in packets that no wanted frame needs is
not detected.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError
from vita_data.formats.raw_tree.file_head import require_readable
from vita_data.formats.video.decode import DamagedFrame, ShownFrame, decode_packet, demux_video
from vita_data.formats.video.packets import MAX_REORDER, PacketList, Run, plan_runs
from vita_data.types import Int64

# Packets that no other packet refers to. HEVC's "non-reference" pictures may serve a higher temporal layer.
_SKIPS_UNREFERENCED = ("h264",)
_SEEK_PACKETS = 300


def decode_wanted(packets: PacketList, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
    """Yield each of some shown frames with its number, in presentation order.

    The pixels equal those of a decode from the start of the file. A packet that does not decode makes all wanted frames
    from there to the next key frame damaged, as does a frame that the decoder had to conceal; a wanted frame that never
    comes out is damaged too. Packets that no wanted frame needs are not decoded, so their damage is not noticed.

    Assumes: decoding cannot start at a key frame that is not itself intact and intra-coded (gradual refresh): the rest
        of such a file is decoded from its first packet.

    Args:
        packets: the scan of the file.
        wanted: shown frames [W] in presentation order, strictly ascending.

    Raises:
        EpisodeError: the file cannot be opened or read, its packets differ from the scan, or no key frame follows
            the damage.
    """
    done = 0
    with ExitStack() as stack:
        reader = _GopReader(packets, wanted, stack)
        for run in plan_runs(packets, packets.entries(), reader.wanted):
            try:
                yield from reader.frames(run, done)
            except _FalseEntryError:
                break
            done += run.num_wanted
        if done < len(wanted):
            rest = Run(start=0, stop=int(reader.wanted[done:].max()) + 1, num_wanted=len(wanted) - done)
            yield from reader.frames(rest, done)


class _FalseEntryError(Exception):
    """A packet that is marked as a key frame but is not one."""


class _GopReader:
    """A file that is decoded run by run."""

    def __init__(self, packets: PacketList, wanted: Int64, stack: ExitStack) -> None:
        self.wanted = packets.shown()[wanted]
        """The packet of each wanted frame."""
        self._packets, self._frames = packets, wanted
        self._demuxer = _Demuxer(packets, stack)
        self._is_wanted = np.zeros(len(packets.pts), np.bool_)
        self._is_wanted[self.wanted] = True
        self._is_lost = np.zeros(len(packets.pts), np.bool_)
        self._first_key = int(np.argmax(packets.is_key))
        self._failure: EpisodeError | None = None

    def frames(self, run: Run, first: int) -> Iterator[tuple[int, ShownFrame]]:
        """Yield the wanted frames of a run, starting at number `first` of all wanted frames."""
        stop = first + run.num_wanted
        place = {int(packet): first + number for number, packet in enumerate(self.wanted[first:stop])}
        for packet, frame in self._decoded(run):
            at = place.get(packet, -1)
            if at >= first:
                yield from self._never(first, at)
                yield self._numbered(at, None if self._is_lost[packet] else frame)
                first = at + 1
        yield from self._never(first, stop)

    def _never(self, first: int, stop: int) -> Iterator[tuple[int, ShownFrame]]:
        return (self._numbered(at, None) for at in range(first, stop))

    def _numbered(self, at: int, frame: av.VideoFrame | None) -> tuple[int, ShownFrame]:
        """Return a wanted frame with its number; None means a lost frame."""
        if frame is None and self._failure is not None and self._is_lost[self.wanted[at]]:
            raise self._failure
        return int(self._frames[at]), frame or DamagedFrame(time=None)

    def _decoded(self, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode a run; yield every wanted frame that comes out, with its packet.

        A frame is held back until the frames that it may depend on have come out: only then is it known whether the
        decoder had to conceal missing parts of them.
        """
        waiting, is_proven = _Waiting(self._packets), run.start == 0
        held: list[tuple[int, av.VideoFrame]] = []
        for index, frames, fault in self._sent(run):
            waiting.add(index)
            if fault:
                self._lose(index, fault)
                is_proven = is_proven or index == run.start
            for frame in frames:
                if not is_proven and not _is_key(frame, int(self._packets.pts[run.start])):
                    raise _FalseEntryError
                is_proven = True
                if (at := waiting.take(frame.pts)) is not None:
                    if frame.is_corrupt:
                        self._lose(at, "the decoder had to conceal missing parts")
                    if self._is_wanted[at]:
                        held.append((at, frame))
            while held and waiting.first(held[0][0]) >= held[0][0]:
                yield held.pop(0)
        if not is_proven:
            raise _FalseEntryError
        yield from held

    def _sent(self, run: Run) -> Iterator[tuple[int, list[av.VideoFrame], str]]:
        """Send the packets of a run to the decoder and drain it; yield the frames after each packet, and any fault."""
        pts, skips = self._packets.pts, self._packets.codec in _SKIPS_UNREFERENCED
        in_first_group, index = run.start > 0, run.start
        for index, packet in self._demuxer.packets(run):
            context = self._demuxer.context
            in_first_group &= index == run.start or not self._packets.is_key[index]
            is_lead_in = index < self._first_key and self._packets.is_orphan[index]
            if not is_lead_in and not (in_first_group and pts[index] < pts[run.start]):
                if skips:
                    context.skip_frame = "DEFAULT" if self._is_wanted[index] else "NONREF"
                yield index, *decode_packet(packet, context)
        yield index, *decode_packet(None, self._demuxer.context)

    def _lose(self, first: int, fault: str) -> None:
        """Mark what is decoded from a packet to the next key frame as lost, including that one's leading pictures.

        An orphan that does not decode has no effect: no shown frame depends on it.
        """
        if self._packets.is_orphan[first]:
            return
        pts, keys = self._packets.pts, np.flatnonzero(self._packets.is_key)
        following = keys[np.searchsorted(keys, first, side="right") :]
        if not len(following):
            number = int(np.sum(pts[self._packets.is_shown] < pts[first]))
            # reading a frame from there on fails; earlier frames still come out
            self._is_lost[first:] = True
            self._failure = self._failure or EpisodeError(
                f"{self._packets.file.name}: frame {number} cannot be decoded ({fault}) and no key frame follows it; "
                "fetch the file again"
            )
            return
        key, stop = following[0], following[1] if len(following) > 1 else len(pts)
        self._is_lost[first:key] = True
        self._is_lost[key:stop] |= pts[key:stop] < pts[key]


class _Waiting:
    """Packets whose frames have not come out of the decoder yet."""

    def __init__(self, packets: PacketList) -> None:
        self._listed = packets
        self._packets = dict[int, int]()
        self._latest = 0
        self._shown_pts: int | None = None

    def add(self, packet: int) -> None:
        """Add a packet that was sent; a hidden one never comes out, and may have the time of a shown one."""
        self._latest = packet
        if self._listed.is_shown[packet]:
            self._packets[int(self._listed.pts[packet])] = packet
        if len(self._packets) > 4 * MAX_REORDER:
            # skipped by the decoder: there may be as many as the file has frames
            del self._packets[next(iter(self._packets))]

    def take(self, pts: int | None) -> int | None:
        """Return the packet of a frame that came out."""
        if pts is None:
            return None
        self._shown_pts = pts if self._shown_pts is None else max(pts, self._shown_pts)
        return self._packets.pop(pts, None)

    def first(self, default: int) -> int:
        """Find the first packet whose frame still comes.

        No packet waits longer than decoders reorder, and none comes out after a frame that is shown later.
        """
        oldest, shown = self._latest - MAX_REORDER, self._shown_pts
        coming = (at for pts, at in self._packets.items() if at > oldest and (shown is None or pts > shown))
        return min(coming, default=default)


class _Demuxer:
    """Finds packets by their numbers in the list, and owns the decoder."""

    def __init__(self, packets: PacketList, stack: ExitStack) -> None:
        """Open the file until `stack` closes it."""
        self._packets, self._stack = packets, stack
        self._next = len(packets.pts)
        self._open()

    def packets(self, run: Run) -> Iterator[tuple[int, "av.Packet[AvVideoStream]"]]:
        """Make the decoder ready and yield the packets of a run with their numbers.

        Raises:
            EpisodeError: the file cannot be read, or its packets differ from the list.
        """
        if not self._next <= run.start <= self._next + _SEEK_PACKETS:
            self._seek(run.start)
        self.context.flush_buffers()
        while self._next < run.stop:
            index, packet = self._next, next(self._demuxed, None)
            if packet is None:
                require_readable(self._packets.file.path, name=self._packets.file.name)
            if packet is None or packet.pts != self._packets.pts[index]:
                raise EpisodeError(
                    f"{self._packets.file.name}: packet {index} differs from when the file was first listed"
                )
            self._next = index + 1
            if index >= run.start:
                yield index, packet

    def _open(self) -> None:
        self._container, self._stream = self._stack.enter_context(self._packets.file.opened())
        self._stream.thread_type = "NONE"
        self.context = self._stream.codec_context
        self.context.thread_count = 1  # some AV1 decoders obey only this setting

    def _seek(self, start: int) -> None:
        """Seek to a packet or an earlier one; start from the top if the file's own index is wrong."""
        ticks = min(self._packets.pts[start], self._packets.dts[start])
        try:
            self._container.seek(int(ticks), stream=self._stream)
            self._demuxed = demux_video(self._container, self._stream, self._packets.file.name)
            landed = next(self._demuxed, None)
        except (av.FFmpegError, EpisodeError):
            landed = None
        found = np.flatnonzero(self._packets.pts == landed.pts) if landed is not None else np.empty(0, np.int64)
        if landed is not None and len(found) == 1 and found[0] <= start:
            self._demuxed, self._next = chain([landed], self._demuxed), int(found[0])
            return
        self._stack.close()
        self._open()
        self._demuxed, self._next = demux_video(self._container, self._stream, self._packets.file.name), 0


def _is_key(frame: av.VideoFrame, pts: int) -> bool:
    return frame.pts == pts and bool(frame.key_frame) and frame.pict_type in (PictureType.NONE, PictureType.I)
