"""Windows of one video: each frame decoded once, few held, every row its own picture, damage fails what it hides."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vita_data.errors import EpisodeError
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.formats.video import windows as video_windows
from vita_data.formats.video.decode import DamagedFrame, ShownFrame, decode_frames
from vita_data.formats.video.gops import decode_wanted
from vita_data.formats.video.packets import PacketList
from vita_data.formats.video.stream import LOST_FRAME, VideoStream, scan_times, scan_video, write_toy_video
from vita_data.formats.video.windows import VideoPass, WindowStream
from vita_data.normalize.keyframes import keyframe_rows
from vita_data.types import Int64, ResizeMode

CROP = ResizeMode.CENTER_CROP
NUM_FRAMES = 120
OVERLAPPING = ((5, 45), (15, 55), (15, 55), (50, 90), (70, 100))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("windows") / "a.mp4"
    frames = (toy_frame(144, 192, step=step, resize=CROP) for step in range(NUM_FRAMES))
    write_toy_video(str(path), frames, fps=30)
    return path


@pytest.fixture(scope="module")
def untold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same from a codec whose packets do not tell what is shown."""
    path = tmp_path_factory.mktemp("windows") / "a.webm"
    frames = (toy_frame(144, 192, step=step, resize=CROP) for step in range(NUM_FRAMES))
    write_toy_video(str(path), frames, fps=30, codec="libvpx")
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Counts how often each frame comes out of a pass."""
    counts: Counter[int] = Counter()

    def counting(packets: PacketList, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        for index, frame in decode_wanted(packets, wanted):
            counts[index] += 1
            yield index, frame

    monkeypatch.setattr(video_windows, "decode_wanted", counting)
    return counts


def spans(windows: Sequence[tuple[int, int]]) -> list[Int64]:
    return [np.arange(start, stop) for start, stop in windows]


def open_pass(path: Path, windows: Sequence[tuple[int, int]], max_held: int = 900) -> VideoPass:
    times = scan_times(str(path), name=path.name)
    return VideoPass(str(path), times=times, windows=spans(windows), name=path.name, max_held=max_held)


def steps(stream: WindowStream, rows: Sequence[int]) -> list[int]:
    return [read_toy_frame(frame.pixels).step for frame in stream.read(rows, CROP)]


def test_overlapping_windows_cost_one_decode_of_each_frame(path: Path, decoded: Counter[int]) -> None:
    video = open_pass(path, OVERLAPPING)
    for number, (start, stop) in enumerate(OVERLAPPING):
        stream = video.stream(number)
        assert stream.num_frames == stop - start
        assert steps(stream, range(0, stop - start, 7)) == list(range(start, stop, 7))
    assert max(decoded.values()) == 1
    # frames that only the first window shows are not expected beyond those it asked for
    assert sorted(decoded) == [5, 12, *range(15, 99)]


def test_of_windows_read_at_one_second_nothing_else_is_decoded_or_held(path: Path, decoded: Counter[int]) -> None:
    windows = [(start, start + 50) for start in range(0, 70, 4)]
    video = open_pass(path, windows)
    for number, (start, _) in enumerate(windows):
        assert steps(video.stream(number), [0, 30]) == [start, start + 30]
        assert video.num_held <= 15
    assert set(decoded.values()) == {1}
    assert sorted(decoded) == sorted({start + row for start, _ in windows for row in (0, 30)})


def test_a_pause_leaves_out_its_seconds_and_nothing_that_was_not_asked_for_is_decoded(
    tmp_path: Path, decoded: Counter[int]
) -> None:
    """20 frames of 10 Hz, 3.45 s of nothing, 20 frames."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for step in range(40):
            frame = av.VideoFrame.from_ndarray(toy_frame(144, 192, step=step, resize=CROP), format="rgb24")
            frame.pts, frame.time_base = 100 * step + 3350 * (step >= 20), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times = scan_times(str(path), name="a.mkv")
    assert times.hz == pytest.approx(10)
    video = VideoPass(str(path), times=times, windows=spans([(0, 40), (5, 40)]), name="a.mkv")
    for number, start in enumerate((0, 5)):
        step_index = times.step[start:]
        rows = keyframe_rows(step_index, times.hz)
        assert [int(step_index[row] - step_index[0]) for row in rows] == [[0, 10, 60, 70], [0, 10, 50, 60]][number]
        assert steps(video.stream(number), rows) == [start + row for row in rows]
    assert set(decoded.values()) == {1}
    assert len(decoded) == 8


def test_a_window_that_is_read_otherwise_than_expected_shows_the_right_frames(
    path: Path, decoded: Counter[int]
) -> None:
    windows = [(start, start + 50) for start in range(0, 70, 7)]
    video = open_pass(path, windows)
    asked = [[0, 30], [0, 30], [3, 17, 49], [0, 30], list(range(50)), [0, 30], [0, 29, 30]]
    for number, rows in enumerate(asked):
        assert steps(video.stream(number), rows) == [windows[number][0] + row for row in rows]
    assert max(decoded.values()) <= 3


def test_two_windows_may_be_read_in_turns(path: Path) -> None:
    video = open_pass(path, [(0, 40), (20, 60)])
    for rows in (range(0, 40, 5), [0, 30]):
        turns = zip(video.stream(0).read(rows, CROP), video.stream(1).read(rows, CROP), strict=True)
        shown = [[read_toy_frame(frame.pixels).step for frame in turn] for turn in turns]
        assert shown == [[row, 20 + row] for row in rows]


def test_only_what_a_later_window_may_ask_for_is_held(path: Path) -> None:
    video, held = open_pass(path, OVERLAPPING), []
    for number, (start, stop) in enumerate(OVERLAPPING):
        steps(video.stream(number), range(stop - start))
        held.append(video.num_held)
    # 15..44; then 15..54 for the twin window; 50..54 and 70..89; 70..89: never more than a window
    assert held == [30, 40, 40, 25, 20]
    apart = open_pass(path, [(0, 30), (30, 60), (80, 120)])
    for number in range(3):
        steps(apart.stream(number), [0, 20])
        assert apart.num_held == 0


def test_frames_that_nobody_asks_for_are_not_converted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    plain = video_windows.frame_scaler

    def counting(resize: ResizeMode) -> object:
        scale = plain(resize)
        return lambda frame: (converted.append(frame.pts), scale(frame))[1]

    monkeypatch.setattr(video_windows, "frame_scaler", counting)
    video = open_pass(path, [(0, 60), (60, 120)])
    assert steps(video.stream(0), [0, 30]) + steps(video.stream(1), [0, 30]) == [0, 30, 60, 90]
    assert len(converted) == 4


def test_windows_that_are_never_read_cost_nothing_and_lose_nothing(path: Path, decoded: Counter[int]) -> None:
    video = open_pass(path, OVERLAPPING)
    assert steps(video.stream(0), [0, 39]) == [5, 44]
    assert steps(video.stream(3), [0, 30]) == [50, 80]
    assert set(decoded.values()) == {1}
    assert sorted(decoded) == [5, *range(15, 81)]
    assert list(video.stream(4).read([], CROP)) == []


def test_a_late_or_repeated_read_and_another_resize_still_show_the_right_frames(path: Path) -> None:
    video = open_pass(path, OVERLAPPING)
    assert steps(video.stream(4), [0, 29]) == [70, 99]
    assert steps(video.stream(0), [0, 39]) == [5, 44]
    assert steps(video.stream(0), [0, 39]) == [5, 44]
    crop = next(video.stream(1).read([3], CROP)).pixels
    plain = next(video.stream(1).read([3], ResizeMode.PLAIN)).pixels
    assert np.abs(crop.astype(int) - plain).mean() > 2
    assert steps(video.stream(1), [3]) == [18]


def test_a_window_longer_than_what_may_be_held_is_slower_but_right(path: Path, decoded: Counter[int]) -> None:
    windows = [(0, 120), (10, 50), (60, 100)]
    video = open_pass(path, windows, max_held=15)
    for number, (start, stop) in enumerate(windows):
        assert steps(video.stream(number), range(stop - start)) == list(range(start, stop))
        assert video.num_held <= 15
    assert max(decoded.values()) == 2


def test_damage_fails_the_windows_from_there_on_without_decoding_up_to_it_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def damaged(packets: PacketList, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        opened.append(packets.file.name)
        for index, frame in decode_wanted(packets, wanted):
            if index == 60:
                raise EpisodeError("a.mp4: frame 60 cannot be decoded")
            yield index, frame

    monkeypatch.setattr(video_windows, "decode_wanted", damaged)
    video = open_pass(path, OVERLAPPING)
    assert steps(video.stream(0), [0, 39]) == [5, 44]
    frames = video.stream(3).read([0, 20], CROP)
    assert read_toy_frame(next(frames).pixels).step == 50
    with pytest.raises(EpisodeError, match=r"a\.mp4: frame 60"):
        next(frames)
    with pytest.raises(EpisodeError, match=r"a\.mp4: frame 60"):
        steps(video.stream(4), [0])
    assert len(opened) == 1


def test_a_damaged_stretch_costs_its_own_windows_and_later_ones_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(packets: PacketList, wanted: Int64) -> Iterator[tuple[int, ShownFrame]]:
        for index, frame in decode_wanted(packets, wanted):
            yield index, DamagedFrame(time=None) if 20 <= index < 48 else frame

    monkeypatch.setattr(video_windows, "decode_wanted", damaged)
    video = open_pass(path, OVERLAPPING)
    before, lost = video.stream(0).read([0, 15], CROP)
    assert read_toy_frame(before.pixels).step == 5
    assert lost == LOST_FRAME
    assert list(video.stream(2).read([5, 32], CROP)) == [LOST_FRAME, LOST_FRAME]
    assert steps(video.stream(3), [0, 39]) == [50, 89]
    assert steps(video.stream(4), [0, 29]) == [70, 99]


def test_a_frame_that_the_decoder_leaves_out_in_silence_is_noticed(
    untold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def skipping(path: str, name: str) -> Iterator[av.VideoFrame]:
        return (frame for index, frame in enumerate(decode_frames(path, name)) if index != 20)

    monkeypatch.setattr(video_windows, "decode_frames", skipping)
    video = open_pass(untold, [(0, 10), (30, 60), (100, 120)])
    assert steps(video.stream(0), [0, 9]) == [0, 9]
    with pytest.raises(EpisodeError, match=r"frame 20 has the time 0\.700 s, but the file lists 0\.667 s"):
        steps(video.stream(1), [0])


def test_a_file_whose_packets_do_not_tell_is_read_in_windows_too(untold: Path) -> None:
    video = open_pass(untold, OVERLAPPING)
    assert video.stream(0).num_frames == 40
    for number, (start, _) in enumerate(OVERLAPPING):
        assert steps(video.stream(number), [0, 29]) == [start, start + 29]
    assert steps(video.stream(1), range(40)) == list(range(15, 55))


def test_a_decoder_that_stops_early_is_noticed(untold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ending(path: str, name: str) -> Iterator[av.VideoFrame]:
        return (frame for index, frame in enumerate(decode_frames(path, name)) if index < 100)

    monkeypatch.setattr(video_windows, "decode_frames", ending)
    with pytest.raises(EpisodeError, match="100 frames decode, but the file lists 120"):
        steps(open_pass(untold, [(80, 120)]).stream(0), [0, 30])


real_data = pytest.mark.skipif("VITA_REAL_DATA" not in os.environ, reason="VITA_REAL_DATA is not set")


@real_data
@pytest.mark.parametrize("name", ["nasa_13013.mp4", "av1_video.mkv", "test.mp4"])
def test_windows_of_real_videos_show_what_the_whole_file_shows(name: str) -> None:
    path = Path(os.environ["VITA_REAL_DATA"], "video", name)
    video = open_pass(path, [(10, 70), (40, 100)])
    whole = VideoStream(str(path), info=scan_video(str(path), name=name), name=name)
    expected = [frame.pixels for frame in whole.read([10, 40, 99], CROP)]
    found = [frame.pixels for frame in video.stream(0).read([0, 30], CROP)]
    found += [frame.pixels for frame in video.stream(1).read([59], CROP)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@real_data
def test_real_damage_leaves_the_windows_before_it() -> None:
    path = Path(os.environ["VITA_REAL_DATA"], "video", "corrupted.mp4")
    video = open_pass(path, [(0, 20), (10, 27), (20, 40)])
    assert len(list(video.stream(0).read([0, 19], CROP))) == 2
    assert len(list(video.stream(1).read([0, 16], CROP))) == 2
    with pytest.raises(EpisodeError, match="frame 30 cannot be decoded"):
        list(video.stream(2).read([0, 19], CROP))
