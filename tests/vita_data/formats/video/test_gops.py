"""Decoding what is needed of a video: the pixels of a whole decode whatever the codec, the groups and the frames."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.errors import EpisodeError
from vita_data.formats.video import gops as video_gops
from vita_data.formats.video.decode import DamagedFrame, ShownFrame, VideoFile, decode_frames
from vita_data.formats.video.gops import decode_wanted
from vita_data.formats.video.packets import PacketList, plan_runs
from vita_data.formats.video.stream import scan_times
from vita_data.types import Image

NUM_FRAMES = 60
SIZE = (64, 96)
X265 = "x265-params=log-level=none\\:pools=1\\:keyint={g}\\:"
CODECS = {
    "x264": ("libx264", "mp4", "bf={bf}:preset=veryfast"),
    "x264 mkv": ("libx264", "mkv", "bf={bf}:preset=veryfast:b-pyramid=normal:refs=4"),
    "x264 open": ("libx264", "mkv", "bf={bf}:preset=veryfast:x264-params=open-gop=1"),
    "x264 refresh": ("libx264", "mp4", "bf={bf}:preset=veryfast:intra-refresh=1"),
    "x264 fields": ("libx264", "mp4", "bf={bf}:preset=veryfast:flags=+ildct+ilme"),
    "x265": ("libx265", "mp4", X265 + "min-keyint={g}\\:bframes={bf}"),
    "x265 closed": ("libx265", "mkv", X265 + "open-gop=0\\:bframes={bf}"),
    "x265 radl": ("libx265", "mkv", X265 + "open-gop=0\\:radl=2\\:bframes=3\\:b-adapt=0"),
    "vp9": ("libvpx-vp9", "webm", "deadline=realtime:cpu-used=8:crf=20:b=0"),
    "vp9 hidden": ("libvpx-vp9", "mp4", "deadline=good:cpu-used=8:lag-in-frames=20:auto-alt-ref=1:crf=40:b=0"),
    "vp8": ("libvpx", "webm", "deadline=realtime:cpu-used=8:crf=20:b=0"),
    "mpeg4": ("mpeg4", "mp4", "bf={bf}"),
    "mpeg2": ("mpeg2video", "mkv", "bf={bf}"),
    "mjpeg": ("mjpeg", "mp4", "q=2"),
    "av1": ("libsvtav1", "mp4", "preset=13:svtav1-params=lp=1"),
}
Pictures = list[tuple[int | None, Image]]


def textured(num_frames: int) -> Iterator[Image]:
    """Noise that moves and changes, so that a frame made of wrong references is not the right one by luck."""
    noise = np.random.default_rng(4).integers(0, 255, (2, 48, 64, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    for step in range(num_frames):
        top, left = 2 * step % 100, 3 * step % 140
        yield np.ascontiguousarray(noise[step // 17 % 2, top : top + SIZE[0], left : left + SIZE[1]])


def encode(path: Path, codec: str, options: dict[str, str], pts: range | list[int] = range(NUM_FRAMES)) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        (stream.height, stream.width), stream.pix_fmt = SIZE, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.thread_count = 1
        for ticks, pixels in zip(pts, textured(len(pts)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = ticks, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@cache
def folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def video(name: str, g: int, bf: int) -> Path:
    codec, suffix, options = CODECS[name]
    path = Path(folder().name, f"{name.replace(' ', '_')}-{g}-{bf}.{suffix}")
    pairs = (pair.split("=", 1) for pair in options.format(g=g, bf=bf).replace("\\:", "\0").split(":"))
    encode(path, codec, {"g": str(g), **{key: value.replace("\0", ":") for key, value in pairs}})
    return path


@pytest.fixture(scope="module", autouse=True)
def _clean() -> Iterator[None]:
    yield
    folder().cleanup()


@cache
def whole(path: Path) -> Pictures:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return [(frame.pts, frame.to_ndarray()) for frame in container.decode(stream)]


@cache
def packets_of(path: Path) -> PacketList | None:
    return scan_times(str(path), name=path.name).packets


def assert_same(path: Path, packets: PacketList, wanted: list[int]) -> None:
    expected = whole(path)
    found = list(decode_wanted(packets, np.array(wanted, np.int64)))
    assert [number for number, _ in found] == wanted
    for number, frame in found:
        assert isinstance(frame, av.VideoFrame), number
        assert frame.pts == expected[number][0]
        assert np.array_equal(frame.to_ndarray(), expected[number][1]), number


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_wanted_frames_have_the_pixels_of_a_whole_decode(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CODECS)))
    path = video(name, data.draw(st.sampled_from([3, 12, 25])), data.draw(st.sampled_from([0, 2, 3])))
    packets = packets_of(path)
    assert (packets is None) == (name == "vp8")
    if packets is not None:
        wanted = data.draw(st.sets(st.integers(0, NUM_FRAMES - 1), max_size=NUM_FRAMES))
        assert_same(path, packets, sorted(wanted))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CODECS) - {"vp8"}))
@pytest.mark.parametrize("g", [1, 2, 5, 12, 25, 60])
@pytest.mark.parametrize("bf", [0, 1, 3, 7])
def test_each_frame_alone_and_each_stride_have_the_pixels_of_a_whole_decode(name: str, g: int, bf: int) -> None:
    packets = packets_of(path := video(name, g, bf))
    assert packets is not None
    for wanted in [[number] for number in range(NUM_FRAMES)]:
        assert_same(path, packets, wanted)
    for stride in (1, 2, 3, 7, 15, 30):
        for first in range(0, stride, 2):
            assert_same(path, packets, list(range(first, NUM_FRAMES, stride)))


@pytest.mark.parametrize("name", ["x264", "x264 mkv", "x265 closed", "vp9", "mjpeg", "av1"])
def test_only_groups_with_a_wanted_frame_are_decoded_and_only_up_to_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets, sent = packets_of(video(name, 12, 2)), list[av.Packet | None]()
    plain = video_gops.decode_packet
    monkeypatch.setattr(video_gops, "decode_packet", lambda packet, to: (sent.append(packet), plain(packet, to))[1])
    assert packets is not None
    list(decode_wanted(packets, np.array([14, 38])))
    places = [int(np.flatnonzero(packets.pts == packet.pts)[0]) for packet in sent if packet is not None]
    expected = set[int]()
    for wanted in packets.shown()[[14, 38]]:
        start = packets.entries()[packets.entries() <= wanted][-1]
        expected |= set(range(start, wanted + 1))
    assert places == sorted(expected)
    assert len(places) < NUM_FRAMES / 2


def test_leading_pictures_of_an_open_group_come_from_the_group_before() -> None:
    path = video("x265", 12, 3)
    packets = packets_of(path)
    assert packets is not None
    entries, shown = packets.entries(), packets.shown()
    leading = [n for n, at in enumerate(shown) if packets.pts[at] < packets.pts[entries[entries <= at][-1]]]
    assert leading
    for number in leading:
        after = int(np.flatnonzero(shown == entries[entries <= shown[number]][-1])[0])
        assert_same(path, packets, [number])
        assert_same(path, packets, [number, after + 1])
        assert_same(path, packets, [after, after + 1])


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("name", ["x264 open", "x265", "x265 radl", "mpeg2", "mpeg4", "vp9"])
@pytest.mark.parametrize("late", [0, 3])
def test_what_a_cut_file_shows_is_what_can_be_decoded_of_it(tmp_path: Path, name: str, suffix: str, late: int) -> None:
    """Copy packets from an open group's key frame on, or from inside that group."""
    packets = packets_of(path := video(name, 12, 3))
    assert packets is not None
    keys = np.flatnonzero(packets.is_key)
    leads = [key for key in keys if 0 < key < NUM_FRAMES - 20 and packets.pts[key:].min() < packets.pts[key]]
    assert leads or name == "vp9"
    start = (leads or list(keys[1:]))[0] + late
    with av.open(str(path)) as source, av.open(str(cut := tmp_path / f"cut.{suffix}"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][start:]:
            packet.stream = stream
            target.mux(packet)
    shown = [pictured(frame) for frame in decode_frames(str(cut), cut.name)]
    originals = [pixels.tobytes() for _, pixels in whole(path)]
    assert shown == originals[-len(shown) :]

    found = packets_of(cut)
    assert found is not None
    assert len(found.shown()) == len(shown)
    for wanted in (list(range(len(shown))), [0, 5, len(shown) - 1]):
        frames = [pictured(frame) for _, frame in decode_wanted(found, np.array(wanted))]
        assert frames == [shown[number] for number in wanted]


def pictured(frame: ShownFrame) -> bytes:
    assert isinstance(frame, av.VideoFrame)
    return frame.to_ndarray().tobytes()


def test_a_key_frame_that_is_none_leaves_only_the_start_of_the_file() -> None:
    path = video("x264 refresh", 12, 0)
    packets = packets_of(path)
    assert packets is not None
    assert len(packets.entries()) > 2
    assert_same(path, packets, [2, 30, 50])
    assert_same(path, packets, [59])
    # a muxer that marks every packet
    every = replace(packets, is_key=np.ones(NUM_FRAMES, np.bool_))
    assert_same(path, every, [5, 30, 31, 50])


def test_every_frame_wanted_is_one_run_from_the_first_packet() -> None:
    packets = packets_of(video("x264", 12, 3))
    assert packets is not None
    (run,) = plan_runs(packets, packets.entries(), packets.shown())
    assert (run.start, run.stop, run.num_wanted) == (0, NUM_FRAMES, NUM_FRAMES)
    assert plan_runs(packets, packets.entries(), packets.shown()[:0]) == []


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_a_variable_rate_are_told_by_their_times(tmp_path: Path, suffix: str) -> None:
    pts = [step * step // 7 + 2 * step for step in range(NUM_FRAMES)]
    encode(path := tmp_path / f"a.{suffix}", "libx264", {"g": "12", "bf": "3"}, pts)
    packets = packets_of(path)
    assert packets is not None
    assert_same(path, packets, [0, 1, 13, 14, 35, 36, 59])


@pytest.mark.parametrize("cut", [1, 5, 13, 20])
def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path, cut: int) -> None:
    """Copying packets from a later time on makes a file whose first frames are decoded and not shown."""
    whole_path, path = video("x264", 25, 3), tmp_path / "cut.mp4"
    with av.open(str(whole_path)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        shift = round(Fraction(cut, 30) / (stream.time_base or 1))
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    packets = packets_of(path)
    assert packets is not None
    num_shown = len(packets.shown())
    assert num_shown == len(whole(path))
    assert_same(path, packets, [0, 3, num_shown // 2, num_shown - 1])
    assert_same(path, packets, list(range(num_shown)))


def held_at_the_end(data: bytes, *, ticks: int, held_at: int) -> bytes:
    """Put an edit list into an MP4 file whose `moov` comes last: all of it, then one moment that is held."""
    moov = data.rindex(b"moov") - 4
    start = data.index(b"edts", moov) - 4
    stop = start + int.from_bytes(data[start : start + 4])
    edits = struct.pack(">IIIiIIiI", 0, 2, ticks, 1024, 1 << 16, ticks, held_at, 0)
    box = struct.pack(">I4sI4s", 16 + len(edits), b"edts", 8 + len(edits), b"elst") + edits
    longer = bytearray(data[:start] + box + data[stop:])
    for at in (moov, data.index(b"trak", moov) - 4):
        size = int.from_bytes(data[at : at + 4]) + len(box) - (stop - start)
        longer[at : at + 4] = size.to_bytes(4)
    return bytes(longer)


def test_a_moment_that_an_edit_list_holds_hides_no_frame_of_its_time(tmp_path: Path) -> None:
    """The group of the held moment comes a second time, hidden, with the times of frames that are shown."""
    encode(tmp_path / "a.mp4", "libx264", {"g": "12", "bf": "2", "preset": "veryfast"})
    path = tmp_path / "held.mp4"
    path.write_bytes(held_at_the_end((tmp_path / "a.mp4").read_bytes(), ticks=2000, held_at=59 * 512))
    packets = packets_of(path)
    assert packets is not None
    hidden = packets.pts[~packets.is_shown]
    assert np.isin(hidden, packets.pts[packets.is_shown]).any()
    num_shown = len(packets.shown())
    assert num_shown == len(whole(path)) > NUM_FRAMES
    assert_same(path, packets, list(range(num_shown)))


def test_far_groups_are_reached_whatever_the_index_of_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_gops, "_SEEK_PACKETS", 3)
    for name in ("x264", "x264 mkv", "vp9", "vp9 hidden", "x265"):
        path = video(name, 12, 3)
        packets = packets_of(path)
        assert packets is not None
        assert_same(path, packets, [1, 2, 29, 30, 58])


@pytest.mark.parametrize("name", ["x264", "x264 mkv", "vp9"])
def test_an_index_that_leads_elsewhere_costs_another_pass_from_the_top(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_gops, "_SEEK_PACKETS", 3)
    packets = packets_of(path := video(name, 12, 3))
    assert packets is not None
    assert_same(path, replace(packets, dts=packets.pts[::-1].copy()), [1, 30, 58])


def test_another_file_than_the_one_that_was_scanned_is_refused() -> None:
    packets = packets_of(video("x264", 12, 3))
    assert packets is not None
    other = replace(packets, file=VideoFile(str(video("x264", 12, 0)), "other.mp4"))
    with pytest.raises(EpisodeError, match=r"^other\.mp4: packet \d+ differs from when the file was first listed"):
        list(decode_wanted(other, np.array([20])))


def damaged(path: Path, target: Path, *numbers: int) -> PacketList:
    """Copy a file with whole packets overwritten, counted in the order of the file, and scan it."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        at, size = places[number]
        data[at : at + size] = b"\xff" * size
    target.write_bytes(data)
    packets = packets_of(target)
    assert packets is not None
    return packets


@pytest.mark.parametrize("name", ["x264", "vp9 hidden", "x265", "mpeg4"])
@pytest.mark.parametrize("broken", [18, 26])
def test_damage_costs_the_wanted_frames_that_are_decoded_after_it_in_its_group(
    tmp_path: Path, name: str, broken: int
) -> None:
    path = video(name, 12, 0)
    packets = damaged(path, tmp_path / f"a{path.suffix}", broken)
    expected, wanted = whole(path), [0, 20, 25, 28, 30, 33, 38, 59]
    found = dict(decode_wanted(packets, np.array(wanted)))
    lost = [number for number, frame in found.items() if isinstance(frame, DamagedFrame)]
    stop = int(np.flatnonzero(packets.is_key[broken + 1 :])[0]) + broken + 1
    assert lost == [number for number in wanted if broken <= number < stop]
    assert lost
    for number, frame in found.items():
        if isinstance(frame, av.VideoFrame):
            assert np.array_equal(frame.to_ndarray(), expected[number][1])


def test_damage_that_no_wanted_frame_needs_goes_unseen_and_at_the_end_fails_the_file(tmp_path: Path) -> None:
    packets = damaged(video("x264", 12, 0), tmp_path / "a.mp4", 30, 55)
    assert not packets.is_key[[30, 55]].any()
    assert not packets.is_key[55:].any()
    found = list(decode_wanted(packets, np.array([0, 24, 29, 36, 54])))
    assert not [number for number, frame in found if isinstance(frame, DamagedFrame)]
    with pytest.raises(EpisodeError, match=r"^a\.mp4: frame 55 cannot be decoded \(.*\) and no key frame follows"):
        list(decode_wanted(packets, np.array([0, 57])))


def test_frames_before_fatal_damage_come_out_although_unwanted_ones_were_skipped(tmp_path: Path) -> None:
    packets = damaged(video("x264", 12, 3), tmp_path / "a.mp4", 55)
    assert not packets.is_key[55:].any()
    wanted, found, shown = [0, *range(30, NUM_FRAMES)], list[int](), packets.shown()
    with pytest.raises(EpisodeError, match="no key frame follows"):
        found.extend(number for number, frame in decode_wanted(packets, np.array(wanted)) if pictured(frame))
    assert found == list(takewhile(lambda number: shown[number] < 55, wanted))
    assert len(found) > 20


def test_a_dropped_reader_closes_its_file() -> None:
    packets = packets_of(video("x264", 12, 3))
    assert packets is not None
    frames = decode_wanted(packets, np.array([3, 40]))
    next(frames)
    del frames
    assert [number for number, _ in decode_wanted(packets, np.array([3, 40]))] == [3, 40]


def test_no_picture_made_from_a_filled_in_one_passes_for_whole(tmp_path: Path) -> None:
    path = video("x264", 12, 3)
    expected = whole(path)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for number, (at, size) in enumerate(places[:30]):
        data = bytearray(path.read_bytes())
        middle = at + size // 2
        data[middle : middle + 6] = b"\xff" * 6
        target = tmp_path / f"{number}.mp4"
        target.write_bytes(data)
        packets = packets_of(target)
        assert packets is not None
        found = list(decode_wanted(packets, np.arange(36)))
        lost = [at for at, frame in found if isinstance(frame, DamagedFrame)]
        wrong = [
            at
            for at, frame in found
            if isinstance(frame, av.VideoFrame) and not np.array_equal(frame.to_ndarray(), expected[at][1])
        ]
        assert not lost or not wrong, f"packet {number}: {wrong} are wrong, {lost} told as lost"
