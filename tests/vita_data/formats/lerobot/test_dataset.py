"""LeRobot v2: tables and videos line up, descriptions are checked, and a real dual-arm episode reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.lerobot.cameras import open_camera
from vita_data.formats.lerobot.dataset import read_column, read_table
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.meta import find_lerobot, open_lerobot
from vita_data.formats.lerobot.write import ToyLeRobotEpisode, write_lerobot
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.types import ResizeMode

CAMERA = "observation.images.top"


def write(root: Path, *, num_frames: int = 12) -> FsspecTree:
    root.mkdir(exist_ok=True)
    episode = ToyLeRobotEpisode(
        text="push the cup",
        meta={"note": "kept"},
        columns={"action": np.arange(24.0).reshape(12, 2)},
        videos={CAMERA: [toy_frame(128, 128, step=step) for step in range(num_frames)]},
    )
    write_lerobot(str(root), fps=10, info={"robot": "toy"}, episodes=[episode])
    return FsspecTree(str(root))


def only(raw: FsspecTree, root: str = "") -> LeRobotEpisode:
    (episode,) = open_lerobot(raw, root).episodes
    return episode


def test_description_table_and_video_belong_together(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    dataset, episode = open_lerobot(raw, ""), only(raw)
    table = read_table(raw, episode)
    stream = open_camera(raw, episode, CAMERA)

    assert (dataset.fps, dataset.info["robot"]) == (10.0, "toy")
    assert (episode.num_steps, episode.texts, episode.meta["note"]) == (12, ("push the cup",), "kept")
    assert read_column(table, "action", width=2, name="t").tolist() == np.arange(24.0).reshape(12, 2).tolist()
    assert read_column(table, "timestamp", width=1, name="t")[3, 0] == pytest.approx(0.3)
    shown = [read_toy_frame(frame.pixels).step for frame in stream.read([0, 5, 11], ResizeMode.PLAIN)]
    assert shown == [0, 5, 11]


def test_datasets_are_found_in_the_tree_and_right_below_it(tmp_path: Path) -> None:
    write(tmp_path / "b")
    write(tmp_path / "a")

    assert find_lerobot(FsspecTree(str(tmp_path))) == ["a", "b"]
    assert find_lerobot(FsspecTree(str(tmp_path / "a"))) == [""]
    assert only(FsspecTree(str(tmp_path)), "a").table == "a/data/chunk-000/episode_000000.parquet"


def test_a_video_of_another_length_than_the_table_fails(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", num_frames=11)
    with pytest.raises(EpisodeError, match=r"top/episode_000000\.mp4: the video has 11 frames for 12 rows"):
        open_camera(raw, only(raw), CAMERA)


def test_a_table_of_another_length_than_announced_absent_or_damaged_fails(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    path = tmp_path / "raw/meta/episodes.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "length": 13}))
    with pytest.raises(EpisodeError, match=r"expected 13 rows as in meta/episodes\.jsonl, found 12"):
        read_table(raw, only(raw))
    table = tmp_path / "raw" / only(raw).table
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(EpisodeError, match="the file is damaged"):
        read_table(raw, only(raw))
    table.unlink()
    with pytest.raises(EpisodeError, match=r"listed in meta/episodes\.jsonl but missing"):
        read_table(raw, only(raw))


def test_columns_of_another_width_or_name_are_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    table = read_table(raw, only(raw))
    with pytest.raises(EpisodeError, match="has 2 values a row, expected 7"):
        read_column(table, "action", width=7, name="t")
    with pytest.raises(EpisodeError, match=r"column 'state' not found; the table has action, timestamp"):
        read_column(table, "state", width=7, name="t")


def test_an_unknown_format_is_refused_and_a_damaged_description_named(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    path = tmp_path / "raw/meta/info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "codebase_version": "v4.0"}))
    with pytest.raises(RequestError, match=r"expected LeRobot format v2\.0, v2\.1 or v3\.0, got v4\.0"):
        open_lerobot(raw, "")
    path.write_text(json.dumps({**info, "fps": None}))
    with pytest.raises(SourceError, match="not in LeRobot v2 format"):
        open_lerobot(raw, "")
    path.write_text(json.dumps(info))
    (tmp_path / "raw/meta/episodes.jsonl").unlink()
    with pytest.raises(SourceError, match=r"episodes\.jsonl: cannot be read"):
        open_lerobot(raw, "")


def test_a_real_dual_arm_episode_reads(real_data: Path) -> None:
    raw = FsspecTree(str(real_data / "lerobot_g1"))
    dataset = open_lerobot(raw, "")
    (episode,) = (episode for episode in dataset.episodes if raw.exists(episode.table))
    table = read_table(raw, episode)
    time_s = read_column(table, "timestamp", width=1, name=episode.table)[:, 0]

    assert (dataset.fps, len(dataset.episodes), episode.index, episode.num_steps) == (30.0, 100, 29, 221)
    assert episode.texts == ("Pick up the yellow bottle on the table.",)
    assert read_column(table, "observation.state", width=26, name=episode.table).shape == (221, 26)
    assert np.diff(time_s) == pytest.approx(1 / dataset.fps, abs=1e-4)
    stream = open_camera(raw, episode, "observation.images.cam_high")
    first, last = stream.read([0, 220], ResizeMode.PLAIN)
    assert stream.num_frames == 221
    assert first.pixels.mean() > 20
    assert np.abs(first.pixels.astype(int) - last.pixels.astype(int)).mean() > 1
