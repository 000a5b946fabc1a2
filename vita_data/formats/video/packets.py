"""The packets of a video file: when they are shown, where decoding may start, and which of them some frames need.

A file that ends before its declared end is refused here (`video_ends`), since everything else relies on the list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError
from vita_data.formats.video.decode import DamagedFrame, VideoFile, decode_frames, refuse_machine_fault
from vita_data.formats.video.ends import StreamSpans, refuse_truncated
from vita_data.types import Bool, Int64

# Formats whose packet list is also the list of shown frames with their times. AVI stores no times and may have packets
# that show nothing; VP8 stores its hidden reference frames as separate packets (VP9 packs them with a shown one).
_LISTING_FORMATS = ("matroska", "mp4")
_HIDING_CODECS = ("vp8",)
MAX_REORDER = 32
"""More than the reordering between decoding and presentation in any codec (H.264 and HEVC: 16 packets)."""
# Pictures that are shown before the key frame that they follow in the file can be skipped if no other picture refers to
# them or counts them in a list of references, as H.264 does.
_LEAVES_OUT_LEADING = ("hevc", "mpeg4", "mpeg2video")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PacketList:
    """The video packets of a file in file order, which is decoding order."""

    file: VideoFile
    codec: str
    """The decoder's name."""
    pts: Int64
    """[P] presentation time in ticks of the stream; those of shown packets are distinct."""
    dts: Int64
    """[P] decoding time in ticks; the PTS if the file has none."""
    is_key: Bool
    """[P] marked as a key frame."""
    is_shown: Bool
    """[P] false if an edit list hides the frame, and for orphans."""
    is_orphan: Bool
    """[P] at the start and dependent on earlier pictures that the file lacks: no decoder can produce it."""
    time_base: Fraction
    """Seconds per tick."""

    def shown(self) -> Int64:
        """List the packet [n] of each shown frame, in presentation order."""
        packets = np.flatnonzero(self.is_shown)
        return packets[np.argsort(self.pts[packets])]

    def shown_times(self) -> list[Fraction]:
        """List when each frame [n] is shown, in seconds of the file's clock."""
        return [ticks * self.time_base for ticks in self.pts[self.shown()].tolist()]

    def entries(self) -> Int64:
        """List the packets where decoding may start, ascending; the first is 0.

        Assumes: a key frame is an entry if all earlier packets are shown before it and, in codecs that need their
            leading pictures, all later packets are shown after it.
        """
        keys = np.union1d(0, np.flatnonzero(self.is_key))
        latest_before = np.maximum.accumulate(self.pts)[keys - 1]
        is_entry = latest_before < self.pts[keys]
        if self.codec not in _LEAVES_OUT_LEADING:
            is_entry &= np.minimum.reduceat(self.pts, keys) >= self.pts[keys]
        is_entry[0] = True
        return np.asarray(keys[is_entry], np.int64)


@dataclass(slots=True, kw_only=True)
class Run:
    """Packets that are decoded in one go: [start, stop) begins at an entry and ends after a wanted packet."""

    start: int
    stop: int
    num_wanted: int


def plan_runs(packets: PacketList, entries: Int64, wanted: Int64) -> list[Run]:
    """Choose the packets to decode for wanted ones.

    Args:
        packets: the file.
        entries: where decoding may start, ascending from 0.
        wanted: packets, in any order.
    """
    runs: list[Run] = []
    group = np.searchsorted(entries, wanted, side="right") - 1
    for number in np.unique(group):
        members, start = wanted[group == number], int(entries[number])
        # leading pictures depend on the whole previous group
        if number > 0 and (packets.pts[members] < packets.pts[start]).any():
            start = int(entries[number - 1])
        stop = int(members.max()) + 1
        if runs and runs[-1].stop >= start:
            runs[-1].stop = stop
            runs[-1].num_wanted += len(members)
        else:
            runs.append(Run(start=start, stop=stop, num_wanted=len(members)))
    return runs


def scan_packets(path: str, name: str) -> PacketList | None:
    """List the packets of a file; None if they do not tell which frames are shown.

    The file stays open for the next decoder.

    Raises:
        EpisodeError: the file cannot be opened or read, or its packets end too early.
    """
    file = VideoFile(path, name)
    with file.opened() as (container, stream):
        found, spans = list[_Packet](), StreamSpans()
        try:
            for packet in _video_packets(container, stream, spans):
                found.append(packet)
        except av.FFmpegError as error:
            refuse_machine_fault(error, path, name)
            raise EpisodeError(f"{name}: unreadable after {len(found)} frames ({error.strerror})") from None
        refuse_truncated(container, stream, spans, file=file, num_frames=sum(packet.is_shown for packet in found))
        is_listed = any(word in container.format.name for word in _LISTING_FORMATS)
        if not is_listed or stream.codec_context.name in _HIDING_CODECS or stream.time_base is None:
            return None
        if not _are_times_clear(found):
            return None
        file.keep(container)
        packets = PacketList(
            file=file,
            codec=stream.codec_context.name,
            pts=np.array([packet.pts for packet in found], np.int64),
            dts=np.array([packet.pts if packet.dts is None else packet.dts for packet in found], np.int64),
            is_key=np.array([packet.is_key for packet in found], np.bool_),
            is_shown=np.array([packet.is_shown for packet in found], np.bool_),
            is_orphan=np.zeros(len(found), np.bool_),
            time_base=stream.time_base,
        )
    return _without_orphans(packets)


def _are_times_clear(found: Sequence["_Packet"]) -> bool:
    """Tell whether each packet has a PTS, unique among shown packets and roughly in file order."""
    pts = [packet.pts for packet in found if packet.pts is not None]
    shown = [packet.pts for packet in found if packet.is_shown]
    if len(pts) < len(found) or len(set(shown)) < len(shown):
        return False
    rank = np.argsort(np.argsort(pts, kind="stable"))
    return bool((np.abs(rank - np.arange(len(pts))) <= MAX_REORDER).all())


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    is_key: bool
    is_shown: bool


def _video_packets(
    container: av.container.InputContainer, stream: AvVideoStream, spans: StreamSpans
) -> Iterator[_Packet]:
    """Read the packets of one stream, and record in `spans` when the packets of every stream are shown."""
    index = stream.index
    for packet in container.demux():
        if packet.pts is None and packet.size == 0:
            continue
        spans.see(packet)
        if packet.stream_index == index:
            yield _Packet(packet.pts, packet.dts, packet.is_keyframe, not packet.is_discard)


def _without_orphans(packets: PacketList) -> PacketList:
    """Mark orphans as not shown.

    They come before the first key frame in the file, or are shown before it: the leading pictures of an open group
    where a file was cut. A closed group may also start with leading pictures, which are intact: the decoder decides.

    Raises:
        EpisodeError: as in `decode_frames`.
    """
    if not packets.is_key.any():
        return packets
    key = int(np.argmax(packets.is_key))
    is_early = packets.pts < packets.pts[key]
    is_early[:key] = True
    is_early &= packets.is_shown
    if not is_early.any():
        return packets
    whole = set[int]()
    for frame in decode_frames(packets.file.path, packets.file.name):
        if not isinstance(frame, DamagedFrame) and frame.pts is not None:
            if frame.pts >= packets.pts[key]:
                break
            whole.add(frame.pts)
    is_orphan = is_early & ~np.isin(packets.pts, list(whole))
    return replace(packets, is_shown=packets.is_shown & ~is_orphan, is_orphan=is_orphan)
