"""Detects truncated video files: a WebM, MKV or AVI cut in half can be read without any error."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.stream import Stream
from av.video.stream import VideoStream as AvVideoStream

from vita_data.errors import EpisodeError
from vita_data.formats.raw_tree.file_head import require_readable
from vita_data.formats.video.decode import VideoFile

_TRUNCATION_S = 0.5
_TRUNCATION_SHARE = 0.05
_EBML, _SEGMENT, _RIFF = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"RIFF"
_HEAD_BYTES, _TAIL_BYTES = 4096, 64


@dataclass(slots=True)
class _Span:
    """Packets of one stream, in ticks."""

    last: int
    end: int
    first: int | None = None
    """When the first packet is shown; packets hidden by an edit list do not count."""
    num_packets: int = 0


class StreamSpans:
    """When the packets of each stream of a file are shown."""

    def __init__(self) -> None:
        self._spans: dict[int, _Span] = {}

    def see(self, packet: "av.Packet[Stream]") -> None:
        """Add a packet; one without a PTS is shown when it is decoded."""
        ticks = packet.dts if packet.pts is None else packet.pts
        if ticks is None:
            return
        span = self._spans.get(packet.stream_index)
        if span is None:
            span = self._spans[packet.stream_index] = _Span(ticks, ticks)
        span.num_packets += 1
        span.last = max(span.last, ticks)
        span.end = max(span.end, ticks + (packet.duration or 0))
        if not packet.is_discard and (span.first is None or ticks < span.first):
            span.first = ticks

    def end_s(self, stream: Stream) -> float:
        """Return when a stream ends, in seconds; a clock that starts below zero (MPEG-TS) counts from its start.

        The last packet is shown for its own duration, which may be seconds, but at least for one mean interval, since
        many formats give packets no durations.
        """
        span = self._spans.get(stream.index)
        if span is None or span.first is None or stream.time_base is None:
            return 0.0
        mean = Fraction(span.last - span.first, max(span.num_packets - 1, 1))
        return float((max(Fraction(span.end), span.last + mean) - min(span.first, 0)) * stream.time_base)


def refuse_truncated(
    container: av.container.InputContainer,
    stream: AvVideoStream,
    spans: StreamSpans,
    *,
    file: VideoFile,
    num_frames: int,
) -> None:
    """Refuse a file whose packets end before the declared end.

    Args:
        container: the file, read to its end.
        stream: its video.
        spans: the packets that were read.
        file: the same file, for messages and for reading its bytes.
        num_frames: frames that it shows.

    Raises:
        EpisodeError: they end more than 0.5 s and more than 5% before it.
    """
    declared_s, end_s = _declared_s(container, stream), spans.end_s(stream)
    if declared_s is None and container.duration is not None:
        # the container's duration is that of its longest stream, which may be the sound
        declared_s, end_s = container.duration / av.time_base, max(spans.end_s(each) for each in container.streams)
    if declared_s is None or declared_s - end_s <= max(_TRUNCATION_S, _TRUNCATION_SHARE * declared_s):
        return
    if _is_of_declared_size(file.path, container.size):
        return  # a last frame shown for long, in a format whose packets have no durations
    require_readable(file.path, name=file.name)
    raise EpisodeError(
        f"{file.name}: truncated: {num_frames} frames end at {end_s:.2f} s of the declared {declared_s:.2f} s; "
        "fetch the file again"
    )


def _declared_s(container: av.container.InputContainer, stream: AvVideoStream) -> float | None:
    # FFmpeg shortens the duration of an AVI file by the share of its bytes that is missing, but not its frame count
    ticks = (stream.frames or None) if container.format.name == "avi" else stream.duration
    if ticks is not None and stream.time_base is not None:
        return float(ticks * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return None if tag is None else 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])


def _is_of_declared_size(path: str, num_bytes: int) -> bool:
    """Tell whether a Matroska or AVI file has its declared size; False if none is declared (a live recording).

    A file that ends in zeros is incomplete: the zeros are preallocated space of a download.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        stop = _riff_stop(file, num_bytes) if head.startswith(_RIFF) else _segment_stop(head)
        if stop is None or stop > num_bytes:
            return False
        file.seek(max(stop - _TAIL_BYTES, 0))
        return any(file.read(_TAIL_BYTES))


def _riff_stop(file: BinaryIO, num_bytes: int) -> int | None:
    """Find where the RIFF chunks of an AVI file stop, files over a gigabyte have several of them (OpenDML)."""
    stop = 0
    while stop < num_bytes:
        file.seek(stop)
        head = file.read(8)
        if head[:4] != _RIFF:
            break
        size = int.from_bytes(head[4:], "little")
        if not size:
            return None
        stop += len(head) + size
    return stop


def _segment_stop(head: bytes) -> int | None:
    """Find where the segment of a Matroska file stops.

    Source: RFC 8794 (EBML: variable-size integers, unknown sizes), RFC 9559 (Matroska: the segment).
    """
    header = _element_stop(head, 0, _EBML)
    return None if header is None else _element_stop(head, header, _SEGMENT)


def _element_stop(head: bytes, at: int, id_: bytes) -> int | None:
    """Find where an EBML element stops; None if there is another element, or its size is unknown."""
    size_at = at + len(id_)
    if head[at:size_at] != id_ or size_at >= len(head):
        return None
    num_bytes = 9 - head[size_at].bit_length()
    unknown = (1 << 7 * num_bytes) - 1
    size = int.from_bytes(head[size_at : size_at + num_bytes], "big") & unknown
    return None if size == unknown else size_at + num_bytes + size
