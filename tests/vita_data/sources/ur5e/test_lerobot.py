"""UR-5e in LeRobot form: what holds for a whole dataset is refused once, an odd recording is lost alone."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vita_data.builder import BuildRequest, build
from vita_data.errors import RequestError, SourceError
from vita_data.formats.lerobot.write_v3 import Cut, write_lerobot_v3
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources.ur5e import source as ur5e
from vita_data.sources.ur5e.toy import toy_lerobot_episode, write_ur5e_toy_lerobot
from vita_data.types import Drop, Episode, Failure, ResizeMode


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ur5e_lerobot")
    write_ur5e_toy_lerobot(str(root))
    return root


@pytest.fixture
def lerobot_root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


IMAGES = "observation.images."


def edit_info(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def rename_cameras(info: dict[str, Any]) -> None:
    features = info["features"]
    info["features"] = {key.replace("third_person", "cam_high"): value for key, value in features.items()}


def as_images(info: dict[str, Any]) -> None:
    for key in ("third_person", "wrist"):
        info["features"][IMAGES + key]["dtype"] = "image"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            rename_cameras,
            "camera 'observation.images.third_person' not found.*Found: .*cam_high .video 240x320x3., .*wrist",
        ),
        (
            as_images,
            "third_person' is image, but the tables have no such column; .*wrist' is image, .*Found: .*image 240x320x3",
        ),
        (
            lambda info: info["features"][f"{IMAGES}wrist"].update(dtype="image"),
            r"'observation.images.wrist' is image, but the tables have no such column",
        ),
        (
            lambda info: info["features"].pop("action"),
            "feature 'action' not found, expected 7 values per row. Found: .*state",
        ),
        (lambda info: info["features"]["observation.state"].update(shape=[14]), r"has shape \[14\], expected \[13\]"),
        (lambda info: info.update(fps=10), "fps is 10, expected 30; if 10 is right, add --set hz=10"),
        (
            lambda info: info.pop("action_space"),
            "none of 2 recordings can be read; the first error is: .*action_space is None; set it to",
        ),
        (lambda info: info.update(codebase_version="v4.0"), "expected LeRobot format v2.0, v2.1 or v3.0, got v4.0"),
    ],
)
def test_a_lerobot_dataset_that_cannot_be_read_at_all_is_refused_once(
    lerobot_root: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    edit_info(lerobot_root, change)
    with pytest.raises(RequestError, match=told) as caught:
        ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())
    assert "\n" not in str(caught.value)
    assert "meta/info.json" in str(caught.value)


def test_a_lerobot_dataset_without_a_wrist_camera_or_of_a_stated_rate_is_read(lerobot_root: Path) -> None:
    edit_info(lerobot_root, lambda info: info["features"].pop(f"{IMAGES}wrist"))
    edit_info(lerobot_root, lambda info: info.update(fps=10))
    assert len(ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings(hz=10.0))) == 2


def edit_line(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the first line of the list of episodes, or replace it with what `change` gives."""
    path = root / "meta/episodes.jsonl"
    first, *others = path.read_text().splitlines()
    line = json.loads(first)
    found = change(line)
    path.write_text("\n".join([found if isinstance(found, str) else json.dumps(line), *others]))


def outcomes(root: Path) -> list[Episode | Drop | Failure]:
    raw, settings = FsspecTree(str(root)), ur5e.Settings()
    return [outcome for part in ur5e.parts(raw, settings) for outcome in ur5e.episodes(raw, part, settings)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda line: '{"episode_index": 0, "len', "line 1: not in LeRobot v2 format .JSONDecodeError"),
        (lambda line: "[]", "line 1: .*expected an object, got list"),
        (lambda line: line.pop("tasks"), "line 1: .*KeyError: 'tasks'"),
        (lambda line: line.update(length=None), "line 1: .*ValueError"),
    ],
)
def test_an_odd_line_of_the_list_of_episodes_fails_alone(
    lerobot_root: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    edit_line(lerobot_root, change)
    found = outcomes(lerobot_root)
    (failed,) = (outcome for outcome in found if isinstance(outcome, Failure))

    assert len(found) == 2
    assert re.search(told, failed.detail)
    assert failed.episode.startswith("meta/episodes.jsonl#00000")


def test_an_episode_that_is_listed_twice_fails_the_second_time(lerobot_root: Path) -> None:
    path = lerobot_root / "meta/episodes.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0])
    found = outcomes(lerobot_root)

    assert [type(outcome) for outcome in found] == [Episode, Drop, Failure]
    assert "line 3: not in LeRobot v2 format (ValueError: episode_index 0 occurs more than once)" in found[2].detail


def test_episodes_that_are_counted_and_not_listed_fail(lerobot_root: Path) -> None:
    edit_info(lerobot_root, lambda info: info.update(total_episodes=9))
    failed = outcomes(lerobot_root)[-1]

    assert isinstance(failed, Failure)
    assert "lists 2 episodes, but meta/info.json has total_episodes 9" in failed.detail


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info.update(chunks_size=0),
        lambda info: info.update(fps=0),
        lambda info: info.update(video_path=None),
        lambda info: info.update(data_path="data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"),
    ],
)
def test_an_odd_description_is_named_as_the_file_that_is_wrong(
    lerobot_root: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_info(lerobot_root, change)
    with pytest.raises(SourceError, match=r"^meta/info\.json: not in LeRobot v2 format"):
        ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())


def test_a_camera_of_which_no_video_was_fetched_is_refused_once(lerobot_root: Path) -> None:
    for path in lerobot_root.glob(f"videos/*/{IMAGES}wrist/*.mp4"):
        path.unlink()
    with pytest.raises(RequestError, match=r"all videos of 'observation\.images\.wrist' are missing, the first"):
        ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())


def test_a_table_that_was_never_there_fails_alone_and_ends_no_build(lerobot_root: Path, tmp_path: Path) -> None:
    (lerobot_root / "data/chunk-000/episode_000001.parquet").unlink()
    request = BuildRequest(source="ur5e", raw=str(lerobot_root), out=tmp_path / "out", settings=ur5e.Settings())
    result = build(request)

    (failed,) = result.failed
    assert "listed in meta/episodes.jsonl but missing" in failed.detail
    assert result.card is not None
    assert result.card["outcomes"] == {"failed": 1, "ok": 1}


def test_not_a_number_in_what_a_recording_says_of_itself_becomes_null(lerobot_root: Path) -> None:
    edit_line(lerobot_root, lambda line: line.update(intrinsics={"third_person": [[math.nan, 1.5], [0, math.inf]]}))
    (found,) = (outcome for outcome in outcomes(lerobot_root) if isinstance(outcome, Episode))

    assert found.extras["intrinsics"] == {"third_person": [[None, 1.5], [0, None]]}


@pytest.mark.parametrize("version", ["2.1", "v2.0", 2.1])
def test_versions_are_read_in_each_way_they_are_written(lerobot_root: Path, version: object) -> None:
    edit_info(lerobot_root, lambda info: info.update(codebase_version=version))
    assert len(ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())) == 2


def test_format_3_gives_the_same_episodes_as_format_2_1(toy: Path, tmp_path: Path) -> None:
    episodes = [toy_lerobot_episode(number) for number in range(2)]
    info = {"action_space": "abs_tcp"}
    write_lerobot_v3(str(tmp_path), fps=30, info=info, episodes=episodes, cut=Cut(per_data_file=2, per_video_file=1))
    (old, _), (new, dropped) = outcomes(toy), outcomes(tmp_path)

    assert isinstance(dropped, Drop)
    assert isinstance(old, Episode)
    assert isinstance(new, Episode)
    assert new.id == "data/chunk-000/file-000.parquet#episode_000000"
    assert (new.release, new.instructions, new.extras) == (old.release, old.instructions, old.extras)
    assert new.right is not None
    assert old.right is not None
    assert np.array_equal(new.right.xyz_m, old.right.xyz_m)
    assert np.array_equal(new.step_index, old.step_index)
    for role, camera in old.cameras.items():
        rows = [0, 13, 29]
        pairs = zip(camera.read(rows, ResizeMode.PLAIN), new.cameras[role].read(rows, ResizeMode.PLAIN), strict=True)
        for frame, same in pairs:
            assert np.array_equal(frame.pixels, same.pixels)
