"""LeRobot v3.0: rows and frames of several episodes in one file are told apart, and a list that is wrong is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vita_data.errors import EpisodeError, SourceError
from vita_data.formats.lerobot.cameras import VideoScans, open_camera
from vita_data.formats.lerobot.dataset import read_column, read_table, read_texts
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.lerobot.write_v3 import Cut, write_lerobot_v3
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_frame
from vita_data.types import ResizeMode, RgbFrame

TOP, WRIST = "observation.images.top", "observation.images.wrist"
LENGTHS = (14, 9, 21, 5, 12)
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def actions(number: int) -> np.ndarray:
    return 100.0 * number + np.arange(2.0 * LENGTHS[number]).reshape(-1, 2)


def frames(number: int, camera: int) -> list[np.ndarray]:
    return [toy_frame(64, 96, step=step, camera=camera, episode=number) for step in range(LENGTHS[number])]


def write(root: Path) -> FsspecTree:
    """Five episodes: data files of two, videos of three."""
    episodes = [
        ToyLeRobotEpisode(
            text=f"push cup {number % 2}",
            meta={"outcome": "good"},
            columns={"action": actions(number), "next.reward": np.full(LENGTHS[number], float(number))},
            videos={TOP: frames(number, 0)},
            images={WRIST: frames(number, 1)},
            strings={"note": [f"note {number}"] * LENGTHS[number]},
        )
        for number in range(len(LENGTHS))
    ]
    root.mkdir(exist_ok=True)
    write_lerobot_v3(str(root), fps=10, info={}, episodes=episodes, cut=Cut(per_data_file=2, per_video_file=3))
    return FsspecTree(str(root))


def edit(path: Path, change: Callable[[dict[str, list[Any]]], object]) -> None:
    """Change the columns of a table, written again as one row group."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), path)


def shown(raw: FsspecTree, episode: LeRobotEpisode, key: str, rows: list[int] | None = None) -> list[tuple[int, int]]:
    """The step and episode that are drawn on each frame of a camera."""
    stream = open_camera(raw, episode, key, table=read_table(raw, episode), scans=VideoScans(raw))
    found = []
    for frame in stream.read(range(stream.num_frames) if rows is None else rows, ResizeMode.PLAIN):
        assert isinstance(frame, RgbFrame)
        mark = read_toy_frame(frame.pixels if key == TOP else _square(frame.pixels))
        found.append((mark.step, mark.episode))
    return found


def _square(pixels: np.ndarray) -> np.ndarray:
    """Stretch an image [64, 96] to [192, 192]; images in tables come at their own size."""
    rows = np.arange(192) // 3
    return pixels[rows][:, np.arange(192) // 2]


def test_rows_texts_and_frames_of_packed_episodes_are_their_own(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    dataset = open_lerobot(raw, "")

    assert [episode.num_steps for episode in dataset.episodes] == list(LENGTHS)
    assert len({episode.id for episode in dataset.episodes}) == 5
    for number, episode in enumerate(dataset.episodes):
        table = read_table(raw, episode)
        assert (episode.index, episode.texts, episode.meta["outcome"]) == (number, (f"push cup {number % 2}",), "good")
        assert read_column(table, "action", width=2, name="t").tolist() == actions(number).tolist()
        assert set(read_column(table, "next.reward", width=1, name="t")[:, 0]) == {float(number)}
        assert set(read_texts(table, "note", name="t")) == {f"note {number}"}
        expected = [(step, number) for step in range(LENGTHS[number])]
        assert shown(raw, episode, TOP) == expected
        assert shown(raw, episode, WRIST) == expected
    assert shown(raw, dataset.episodes[2], TOP, [0, 20]) == [(0, 2), (20, 2)]


def test_only_the_wanted_columns_and_rows_are_read(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    episode = open_lerobot(raw, "").episodes[1]

    assert read_table(raw, episode, ["action", "absent"]).column_names == ["action"]
    assert WRIST not in read_table(raw, episode).column_names
    assert not any(key.startswith("stats/") for key in episode.meta)
    # the other episode's row group is not touched, so its damage does not matter
    path = tmp_path / "raw" / episode.table
    data, place = bytearray(path.read_bytes()), pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    data[place : place + 100] = bytes(100)
    path.write_bytes(bytes(data))
    assert read_column(read_table(raw, episode), "action", width=2, name="t").tolist() == actions(1).tolist()


def test_one_row_group_of_several_episodes_is_cut_by_episode_index(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    episode = open_lerobot(raw, "").episodes[1]
    edit(tmp_path / "raw" / episode.table, lambda columns: None)

    assert read_column(read_table(raw, episode), "action", width=2, name="t").tolist() == actions(1).tolist()
    assert shown(raw, episode, WRIST, [0, 8]) == [(0, 1), (8, 1)]


def move(key: str, number: int, value: object) -> Callable[[dict[str, list[Any]]], None]:
    def change(columns: dict[str, list[Any]]) -> None:
        columns[key][number] = value

    return change


def shift_video(columns: dict[str, list[Any]]) -> None:
    for end in ("from", "to"):
        columns[f"videos/{TOP}/{end}_timestamp"][0] += 0.04
        columns[f"videos/{TOP}/{end}_timestamp"][1] += 0.04
        columns[f"videos/{TOP}/{end}_timestamp"][2] += 0.04


@pytest.mark.parametrize(
    ("change", "number", "told"),
    [
        (move("data/file_index", 2, 0), 2, r"file-000\.parquet: expected 21 rows of episode 2 .*, found 0"),
        (move("data/file_index", 2, 7), 2, r"file-007\.parquet: listed in meta/episodes but missing"),
        (move("length", 1, 8), 1, "length 8, but the rows 14 to 23"),
        (move("dataset_from_index", 1, None), 1, "ValueError"),
        (move(f"videos/{TOP}/file_index", 4, 0), 4, "both at 0.500 s|lists episodes"),
        (move(f"videos/{TOP}/file_index", 4, 9), 4, r"file-009\.mp4: the video of .* is listed in .* but missing"),
        (move(f"videos/{TOP}/to_timestamp", 4, 9.0), 4, "span of 8.500 s has 85 frames for 12 rows"),
        (move(f"videos/{TOP}/from_timestamp", 1, 1.0), 0, "lists episodes 0 and 1 both at 1.000 s"),
        (shift_video, 1, "row 0 is at 1.4400 s, but the nearest frame of the video is at 1.4000 s"),
        (move("episode_index", 1, 0), -1, "episode_index 0 occurs more than once"),
    ],
)
def test_a_list_that_disagrees_with_the_files_fails_that_episode(
    tmp_path: Path, change: Callable[[dict[str, list[Any]]], None], number: int, told: str
) -> None:
    raw = write(tmp_path / "raw")
    edit(tmp_path / "raw" / EPISODES, change)
    found = open_lerobot(raw, "").episodes
    episode = next((one for one in found if one.index == number and not one.fault), found[-1])
    if number == 0:
        episode = found[0]

    with pytest.raises(EpisodeError, match=told):
        open_camera(raw, episode, TOP, table=read_table(raw, episode))
    # an episode of other files is not affected
    assert shown(raw, next(one for one in found if one.index == 3), TOP, [4]) == [(4, 3)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda columns: columns["frame_index"].__setitem__(3, 9), "row 3 of episode 0 has frame_index 9, expected 3"),
        (lambda columns: columns["index"].__setitem__(3, 9), "row 3 of episode 0 has index 9, expected 3"),
        (lambda columns: columns["episode_index"].__setitem__(3, 1), "rows of episode 0 are not consecutive"),
        (lambda columns: columns["episode_index"].__setitem__(13, 1), "expected 14 rows of episode 0 .*, found 13"),
        (lambda columns: columns["timestamp"].__setitem__(3, 0.43), "row 3 is at 0.4300 s, but the nearest frame"),
        (lambda columns: columns["timestamp"].__setitem__(3, 0.2), "rows 2 and 3 have the same frame"),
    ],
)
def test_rows_that_disagree_with_the_list_fail_that_episode(
    tmp_path: Path, change: Callable[[dict[str, list[Any]]], None], told: str
) -> None:
    raw = write(tmp_path / "raw")
    episode = open_lerobot(raw, "").episodes[0]
    edit(tmp_path / "raw" / episode.table, change)
    with pytest.raises(EpisodeError, match=told):
        open_camera(raw, episode, TOP, table=read_table(raw, episode))


def test_a_video_that_ends_early_fails_only_the_episodes_it_lacks(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    found = open_lerobot(raw, "").episodes
    video = tmp_path / "raw" / found[0].videos[TOP].path
    short = write(tmp_path / "short")
    (tmp_path / "short" / found[3].videos[TOP].path).rename(video)

    assert short is not None
    with pytest.raises(EpisodeError, match=r"episode 1: row 3 is at 1\.7000 s, but the nearest frame .* at 1\.6000 s"):
        open_camera(raw, found[1], TOP, table=read_table(raw, found[1]))


def test_a_list_without_tables_or_a_damaged_one_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    path = tmp_path / "raw" / EPISODES
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"meta/episodes/chunk-000/file-000\.parquet: cannot be read"):
        open_lerobot(raw, "")
    path.unlink()
    with pytest.raises(SourceError, match="meta/episodes: expected tables of episodes"):
        open_lerobot(raw, "")


def test_a_list_of_very_many_invalid_entries_is_refused(tmp_path: Path) -> None:
    """Before, each became a failed episode, and each unit of them read the list again: it took hours."""
    raw = write(tmp_path / "raw")
    path = tmp_path / "raw" / EPISODES
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table] * 2000), path)
    assert len([one for one in open_lerobot(raw, "").episodes if one.fault]) == 9995
    pq.write_table(pa.concat_tables([table] * 2002), path)
    with pytest.raises(SourceError, match=r"row 5: .*occurs more than once.*; 5 of its 10010 entries are valid"):
        open_lerobot(raw, "")


def test_images_that_are_only_paths_fail_in_words(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw")
    episode = open_lerobot(raw, "").episodes[0]
    path = tmp_path / "raw" / episode.table
    table = pq.read_table(path)
    at = table.column_names.index(WRIST)
    paths = pa.array([{"bytes": None, "path": "a.png"}] * table.num_rows, table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), paths), path)
    with pytest.raises(EpisodeError, match="has rows without image bytes, only with paths"):
        list(open_camera(raw, episode, WRIST).read([0], ResizeMode.PLAIN))
