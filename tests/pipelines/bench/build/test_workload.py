"""Generated data: made once and whole, and the same bytes every time."""

from dataclasses import replace
from pathlib import Path

import av
import pytest
from av.video.frame import PictureType

from pipelines.bench.build.sizes import QUICK
from pipelines.bench.build.videos import clip_specs, long_video_spec, write_video
from pipelines.bench.build.workload import prepare


def _write(raw: Path) -> int:
    (raw / "a").write_bytes(b"12345")
    return 3


def _fail(raw: Path) -> int:
    (raw / "a").write_bytes(b"1")
    raise OSError("disk full")


def test_a_workload_is_found_again(tmp_path: Path) -> None:
    made = prepare(tmp_path, "w", 1, _write)

    assert (made.num_frames, made.num_bytes) == (3, 5)
    assert prepare(tmp_path, "w", 1, _fail) == made


def test_another_size_is_another_workload(tmp_path: Path) -> None:
    made = prepare(tmp_path, "w", 1, _write)

    assert prepare(tmp_path, "w", 2, _write).folder != made.folder


def test_half_a_workload_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        prepare(tmp_path, "w", 1, _fail)

    assert prepare(tmp_path, "w", 1, _write).num_bytes == 5


def test_the_long_video_has_the_gop_and_the_b_frames_it_says(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, long_video_spec(QUICK))

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        kinds = [frame.pict_type for packet in packets for frame in packet.decode()]
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 60, 120]
    assert kinds.count(PictureType.B) > len(kinds) / 2


def test_clips_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a.webm", tmp_path / "b.webm"]
    for path in paths:
        write_video(path, replace(clip_specs(QUICK)[0], num_frames=5))

    assert paths[0].read_bytes() == paths[1].read_bytes()
