"""Video files: times from PTS alone, frame t is frame t, exact geometry, and nothing damaged goes unseen."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vita_data.errors import EpisodeError
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.formats.video.stream import LOST_FRAME, VideoInfo, VideoStream, scan_times, scan_video, write_toy_video
from vita_data.normalize.images import UndecodableFrameError, store_frame
from vita_data.types import Image, ResizeMode, RgbFrame

real_data = pytest.mark.skipif("VITA_REAL_DATA" not in os.environ, reason="VITA_REAL_DATA is not set")
PLAIN, CROP = ResizeMode.PLAIN, ResizeMode.CENTER_CROP


def toy_frames(num_frames: int, height: int = 240, width: int = 320, resize: ResizeMode = CROP) -> Iterator[Image]:
    return (toy_frame(height, width, step=step, camera=2, episode=5, resize=resize) for step in range(num_frames))


def mux(
    path: Path,
    pts: list[int],
    *,
    codec: str = "libvpx-vp9",
    rate: int = 30,
    rotation: float | None = None,
    size: tuple[int, int] = (240, 320),
    turn: int = 0,
    **options: str,
) -> Path:
    """Write toy frames at PTS in ms under a header that claims `rate`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = "yuv420p", *[Fraction(1, 1000)] * 2
        for step, (ticks, upright) in enumerate(zip(pts, toy_frames(len(pts), *size), strict=True)):
            pixels = np.ascontiguousarray(np.rot90(upright, turn))
            if step == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = ticks, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_all(path: Path, resize: ResizeMode = CROP) -> tuple[VideoInfo, list[RgbFrame]]:
    info = scan_video(str(path), name=path.name)
    stream = VideoStream(str(path), info=info, name=path.name)
    return info, list(stream.read(range(stream.num_frames), resize))


def steps(frames: list[RgbFrame]) -> list[int]:
    return [read_toy_frame(frame.pixels).step for frame in frames]


def test_rate_and_steps_come_from_the_time_stamps_not_from_the_header(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.webm", [round(i * 1000 / 12) for i in range(30)], rate=30, deadline="realtime")
    info, frames = read_all(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 30
        assert container.streams.video[0].frames == 0
    assert info.hz == pytest.approx(12, rel=1e-3)
    assert info.step_index.tolist() == list(range(30))
    assert steps(frames) == list(range(30))


def test_a_missing_stretch_of_time_leaves_a_gap_in_the_steps_and_costs_no_frame(tmp_path: Path) -> None:
    pts = [i * 100 for i in range(20)] + [i * 100 for i in range(22, 40)]
    info, frames = read_all(mux(tmp_path / "a.mkv", pts, deadline="realtime"))
    assert info.hz == pytest.approx(10)
    assert info.step_index.tolist() == [ticks // 100 for ticks in pts]
    assert steps(frames) == list(range(38))


def test_times_count_from_the_first_frame_wherever_the_clock_starts(tmp_path: Path) -> None:
    times = scan_times(str(mux(tmp_path / "a.mkv", [500, 600, 700, 1000], deadline="realtime")), name="a.mkv")
    assert times.time_s.tolist() == pytest.approx([0, 0.1, 0.2, 0.5])
    assert times.hz == pytest.approx(3 / 0.5)


def test_two_frames_of_one_step_keep_the_first(tmp_path: Path) -> None:
    pts = [0, 100, 200, 205, *(i * 100 for i in range(3, 40))]
    info, frames = read_all(mux(tmp_path / "a.webm", pts, deadline="realtime"))
    assert info.num_shown == 41
    assert len(info.step_index) == 40
    assert steps(frames) == [step for step in range(41) if step != 3]


def test_rows_are_the_frames_that_were_asked_for(tmp_path: Path) -> None:
    write_toy_video(str(tmp_path / "a.webm"), toy_frames(30), fps=12)
    info = scan_video(str(tmp_path / "a.webm"), name="a.webm")
    stream = VideoStream(str(tmp_path / "a.webm"), info=info, name="a.webm")
    frames = list(stream.read([0, 12, 13, 29], CROP))
    assert steps(frames) == [0, 12, 13, 29]
    assert list(stream.read([], CROP)) == []


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (
            "webm",
            "libvpx-vp9",
            {"auto-alt-ref": "1", "lag-in-frames": "25", "deadline": "realtime", "cpu-used": "6", "b": "300k"},
        ),
        ("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "1M"}),
        ("mp4", "libx264", {"bf": "3", "preset": "ultrafast"}),
        ("avi", "mpeg4", {"bf": "2", "b": "2M"}),
    ],
)
def test_hidden_and_reordered_frames_come_in_presentation_order(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=12, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for pixels in toy_frames(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    info, frames = read_all(tmp_path / f"a.{suffix}")
    assert info.step_index.tolist() == list(range(60))
    assert info.hz == pytest.approx(12, rel=1e-3)
    assert steps(frames) == list(range(60))
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    # a VP9 superframe, which holds a hidden frame, ends with this marker (VP9 bitstream specification, annex B)
    assert codec != "libvpx-vp9" or any(packet[-1] & 0xE0 == 0xC0 for packet in packets)


@pytest.mark.parametrize(("height", "width"), [(240, 427), (427, 240), (241, 427), (480, 270), (256, 256), (720, 1281)])
def test_centre_crop_shows_the_middle_square_upright(tmp_path: Path, height: int, width: int) -> None:
    write_toy_video(str(tmp_path / "a.webm"), toy_frames(4, height, width), fps=12)
    _, frames = read_all(tmp_path / "a.webm")
    for step, frame in enumerate(frames):
        mark = read_toy_frame(frame.pixels)
        assert frame.pixels.shape == (256, 256, 3)
        assert (mark.step, mark.camera, mark.episode, mark.upright, mark.rgb) == (step, 2, 5, True, True)


def test_plain_resize_keeps_the_whole_image(tmp_path: Path) -> None:
    write_toy_video(str(tmp_path / "a.webm"), toy_frames(3, 240, 427, PLAIN), fps=12)
    _, frames = read_all(tmp_path / "a.webm", PLAIN)
    assert all(read_toy_frame(frame.pixels).upright for frame in frames)
    assert steps(frames) == [0, 1, 2]


@pytest.mark.parametrize(("rotation", "turn"), [(-90, 1), (90, -1), (180, 2)])
def test_a_display_rotation_is_honoured(tmp_path: Path, rotation: float, turn: int) -> None:
    path = mux(tmp_path / "a.mp4", [0, 100, 200], codec="libx264", rotation=rotation, turn=turn)
    _, frames = read_all(path)
    assert all(read_toy_frame(frame.pixels).upright for frame in frames)
    assert steps(frames) == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["webm", "mkv"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_matroska_file_cut_short_fails_though_it_reads_without_error(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    write_toy_video(str(path), toy_frames(60), fps=12)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(EpisodeError, match=rf"^a\.{suffix}: .*(truncated|cannot be)"):
        read_all(path)


def test_an_mp4_cut_short_fails_whichever_end_holds_its_list(tmp_path: Path) -> None:
    for flags in ("", "faststart"):
        path = mux(tmp_path / "a.mp4", [i * 83 for i in range(60)], codec="libx264", movflags=flags)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EpisodeError, match=r"^a\.mp4: "):
            read_all(path)


def test_a_whole_file_of_one_frame_a_second_is_not_called_truncated(tmp_path: Path) -> None:
    info, _ = read_all(mux(tmp_path / "a.webm", [i * 1000 for i in range(6)], rate=1, deadline="realtime"))
    assert info.hz == pytest.approx(1)


@pytest.mark.parametrize("content", [b"", b"\x1aE\xdf\xa3" + b"junk" * 50, b"hello"])
def test_no_video_is_an_episode_error_without_the_absolute_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.webm").write_bytes(content)
    with pytest.raises(EpisodeError, match=r"^a\.webm: ") as caught:
        scan_video(str(tmp_path / "a.webm"), name="a.webm")
    assert str(tmp_path) not in str(caught.value)


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(EpisodeError, match="no video stream"):
        scan_video(str(tmp_path / "a.wav"), name="a.wav")


def test_a_file_whose_list_of_streams_is_lost_is_to_be_fetched_again(tmp_path: Path) -> None:
    write_toy_video(str(path := tmp_path / "a.mp4"), toy_frames(3), fps=12)
    path.write_bytes(path.read_bytes().replace(b"trak", b"free"))
    with pytest.raises(
        EpisodeError, match=r"^a\.mp4: the file contains no video stream, nor any other stream; fetch the file"
    ):
        scan_video(str(path), name="a.mp4")


def test_fewer_frames_than_listed_fail_before_the_last_row_comes_out(tmp_path: Path) -> None:
    write_toy_video(str(tmp_path / "a.webm"), toy_frames(20), fps=12)
    info = scan_video(str(tmp_path / "a.webm"), name="a.webm")
    more = VideoInfo(hz=info.hz, step_index=info.step_index, frame_index=info.frame_index, num_shown=21)
    frames = VideoStream(str(tmp_path / "a.webm"), info=more, name="a.webm").read([0, 5], CROP)
    assert read_toy_frame(next(frames).pixels).step == 0
    with pytest.raises(EpisodeError, match="20 frames decode, but the file lists 21"):
        next(frames)


def test_a_toy_video_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.webm", "b.webm"):
        write_toy_video(str(tmp_path / name), toy_frames(5), fps=12)
    assert (tmp_path / "a.webm").read_bytes() == (tmp_path / "b.webm").read_bytes()


DAMAGED_FORMS = [
    ("mp4", "libvpx-vp9", {"deadline": "realtime"}),
    ("mp4", "libx264", {"bf": "3", "preset": "ultrafast"}),
    ("avi", "mpeg4", {}),
]


def damage(path: Path, *packets: int) -> None:
    """Overwrite whole packets, counted in the order of the file."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets:
        at, size = places[packet]
        data[at : at + size] = b"\xff" * size
    path.write_bytes(data)


def write_keyed(path: Path, codec: str, options: dict[str, str], num_frames: int = 48) -> Path:
    """Write toy frames at 12 Hz with a key frame every 12."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12, options={"b": "1M", "g": "12", **options})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for pixels in toy_frames(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("suffix", "codec", "options"), DAMAGED_FORMS)
@pytest.mark.parametrize("packets", [(18,), (18, 19), (24,), (23, 25)])
def test_a_damaged_packet_costs_the_frames_up_to_the_next_key_frame_and_no_other(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str], packets: tuple[int, ...]
) -> None:
    path = write_keyed(tmp_path / f"a.{suffix}", codec, options)
    damage(path, *packets)
    info, frames = read_all(path)
    pictures = [(step, frame.pixels) for step, frame in enumerate(frames) if isinstance(frame, RgbFrame)]
    whole = {step: read_toy_frame(pixels).step for step, pixels in pictures}
    lost = set(range(48)) - set(whole)

    assert info.step_index.tolist() == list(range(48))
    assert whole == {step: step for step in whole}
    assert all(frames[step] == LOST_FRAME for step in lost)
    # a frame that waits in the decoder for later ones when the damage comes may be lost with them
    assert lost <= set(range(packets[0] - 3, 36))
    assert packets[-1] > 23 or max(lost) == 23
    needed = set(range(max(packets), 24 if packets[-1] < 24 else 36))
    if info.packets is not None:
        # what is decoded before the damage is whole, also where it is shown after it
        shown = info.packets.shown().tolist()
        needed = {shown.index(packet) for first in packets for packet in range(first, first // 12 * 12 + 12)}
    assert needed <= lost


@pytest.mark.parametrize(("suffix", "codec", "options"), DAMAGED_FORMS)
def test_damage_that_no_key_frame_follows_is_a_file_that_cannot_be_read_to_its_end(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = write_keyed(tmp_path / f"a.{suffix}", codec, options)
    damage(path, 40)
    with pytest.raises(EpisodeError, match=rf"^a\.{suffix}: frame \d+ cannot be decoded .* no key frame follows"):
        read_all(path)


def test_a_row_in_the_damage_drops_the_clip_and_one_outside_does_not(tmp_path: Path) -> None:
    path = write_keyed(tmp_path / "a.mp4", "libx264", {"bf": "0"})
    damage(path, 18)
    info = scan_video(str(path), name=path.name)
    stream = VideoStream(str(path), info=info, name=path.name)
    assert steps(list(stream.read([0, 12, 24, 36], CROP))) == [0, 12, 24, 36]
    *_, last = stream.read([0, 20], CROP)
    with pytest.raises(UndecodableFrameError):
        store_frame(last, resize=CROP, quality=95)


@real_data
@pytest.mark.parametrize(
    ("name", "num_frames", "hz"),
    [
        ("av1_video.mkv", 125, 25),
        ("bt709_full_range.mp4", 30, 30),
        ("demo.mp4", 280, 28),
        ("flipping_a_pancake.mkv", 310, 30),
        ("h264_10bits.mp4", 30, 30),
        ("h265_video.mp4", 10, 10),
        ("nasa_13013.mp4", 325, 25),
        ("test.avi", 164, 25),
        ("test.mp4", 300, 30),
    ],
)
def test_real_videos_read_to_their_end(name: str, num_frames: int, hz: float) -> None:
    info, frames = read_all(Path(os.environ["VITA_REAL_DATA"], "video", name))
    assert (info.num_shown, len(frames)) == (num_frames, num_frames)
    assert info.hz == pytest.approx(hz, rel=1e-3)
    assert info.step_index.tolist() == list(range(num_frames))
    assert {frame.pixels.shape for frame in frames} == {(256, 256, 3)}


@real_data
def test_real_out_of_order_time_stamps_do_not_reorder_the_pictures() -> None:
    """The AVI's PTS jump back and forth; neighbours must stay more alike than under the order of the PTS."""
    _, frames = read_all(Path(os.environ["VITA_REAL_DATA"], "video", "test.avi"))
    with av.open(str(Path(os.environ["VITA_REAL_DATA"], "video", "test.avi"))) as container:
        pts = [frame.pts for frame in container.decode(video=0)]
    assert pts != sorted(pts)
    images = np.stack([frame.pixels[::4, ::4].astype(int) for frame in frames])
    by_pts = images[np.argsort(pts)]
    assert np.abs(np.diff(images, axis=0)).mean() < np.abs(np.diff(by_pts, axis=0)).mean()


@real_data
def test_a_real_damaged_video_fails_where_its_damage_is_needed() -> None:
    path = Path(os.environ["VITA_REAL_DATA"], "video", "corrupted.mp4")
    stream = VideoStream(str(path), info=scan_video(str(path), name=path.name), name=path.name)
    with pytest.raises(EpisodeError, match=r"corrupted\.mp4: frame 30 cannot be decoded"):
        list(stream.read(range(stream.num_frames), PLAIN))
    assert len(list(stream.read([0, 12], PLAIN))) == 2
