"""Where a video ends: a held last frame is whole, and a file that was cut is told whatever its packets say."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vita_data.errors import EpisodeError
from vita_data.formats.video.packets import scan_packets
from vita_data.formats.video.stream import scan_video

NUM_FRAMES = 24
MS = Fraction(1, 1000)
Packets = list[tuple[int, "av.Packet[av.VideoStream]"]]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Encode 2 s of noise at 12 Hz into Matroska, once a codec."""
    folder, made = tmp_path_factory.mktemp("ends"), dict[str, Path]()

    def encode(codec: str) -> Path:
        if codec in made:
            return made[codec]
        path = made[codec] = folder / f"{codec}.mkv"
        noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
        options = {
            "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
            "libx264": {"preset": "ultrafast"},
            "mpeg4": {},
        }
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=12, options={"g": "6", "bf": "0", **options[codec]})
            (stream.height, stream.width), stream.pix_fmt = noise.shape[:2], "yuv420p"
            for step in range(NUM_FRAMES):
                frame = av.VideoFrame.from_ndarray(np.roll(noise, 2 * step, 1), format="rgb24")
                frame.pts, frame.time_base = step, Fraction(1, 12)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return encode


def packets_of(path: Path) -> Iterator[tuple[int, "av.Packet[av.VideoStream]"]]:
    with av.open(str(path)) as container:
        yield from enumerate(packet for packet in container.demux(video=0) if packet.size)


def remux(source: Path, path: Path, last_ms: int, *, num_frames: int = NUM_FRAMES, shift_ms: int = 0) -> Path:
    """Copy the first packets; the last is shown for `last_ms`, 0 for not told, and so are all others if it is."""
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(container.streams.video[0])
        for number, packet in packets_of(source):
            if number < num_frames:
                packet.stream, packet.time_base = copy, MS
                packet.pts = packet.dts = round(number * 1000 / 12) + shift_ms
                packet.duration = last_ms if number == num_frames - 1 else min(last_ms, 83)
                target.mux(packet)
    return path


@pytest.mark.parametrize("num_frames", [NUM_FRAMES, 1])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
    ],
)
def test_a_last_frame_that_is_held_for_seconds_is_the_end_of_a_whole_file(
    tmp_path: Path, encoded: Callable[[str], Path], name: str, codec: str, num_frames: int
) -> None:
    info = scan_video(str(remux(encoded(codec), tmp_path / name, 7000, num_frames=num_frames)), name=name)
    assert info.step_index.tolist() == list(range(num_frames))
    assert info.hz == pytest.approx(12 if num_frames > 1 else 1, rel=1e-3)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration is not None
        assert container.duration >= 7e6


@pytest.mark.parametrize("last_ms", [0, 83, 2000])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize("is_filled", [False, True])
def test_a_file_that_was_cut_is_told_whatever_its_packets_say_of_durations(
    tmp_path: Path, encoded: Callable[[str], Path], name: str, codec: str, last_ms: int, is_filled: bool
) -> None:
    path = remux(encoded(codec), tmp_path / name, last_ms)
    whole = path.read_bytes()
    kept = len(whole) * 2 // 5
    path.write_bytes(whole[:kept] + bytes(len(whole) - kept if is_filled else 0))
    with pytest.raises(EpisodeError, match=rf"^{name}: truncated: \d+ frames end at "):
        scan_video(str(path), name=name)


def test_a_clock_that_wraps_on_the_way_neither_truncates_a_video_nor_moves_its_frames(
    tmp_path: Path, encoded: Callable[[str], Path]
) -> None:
    """The clock of MPEG-TS has 33 bits of 1/90000 s."""
    wraps_ms = round(2**33 / 90)
    path = remux(encoded("libx264"), tmp_path / "a.ts", 83, shift_ms=wraps_ms - 1000)
    with av.open(str(path)) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert min(pts) < 0 < max(pts)
    info = scan_video(str(path), name="a.ts")
    assert info.step_index.tolist() == list(range(NUM_FRAMES))
    assert info.hz == pytest.approx(12, rel=1e-3)


def test_recordings_that_were_joined_with_their_own_clocks_are_refused(
    tmp_path: Path, encoded: Callable[[str], Path]
) -> None:
    data = remux(encoded("libx264"), tmp_path / "a.ts", 83).read_bytes()
    (tmp_path / "b.ts").write_bytes(data + data)
    with pytest.raises(
        EpisodeError, match=r"^b\.ts: expected ascending time stamps, got frame 24 at .* split the file"
    ):
        scan_video(str(tmp_path / "b.ts"), name="b.ts")


def test_two_frames_of_one_time_are_told_apart_by_decoding(tmp_path: Path, encoded: Callable[[str], Path]) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(encoded("libx264"))) as container, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(container.streams.video[0])
        for number, packet in packets_of(encoded("libx264")):
            packet.stream, packet.time_base = copy, MS
            packet.dts = round(number * 1000 / 12)
            packet.pts = round((number + (number == 10)) * 1000 / 12)
            target.mux(packet)
    assert scan_packets(str(path), "a.mkv") is None
    info = scan_video(str(path), name="a.mkv")
    assert info.num_shown == NUM_FRAMES
    assert info.step_index.tolist() == [step for step in range(NUM_FRAMES) if step != 10]
    assert info.frame_index.tolist() == [frame for frame in range(NUM_FRAMES) if frame != 11]
