"""A built source in Python: clips by number and key, arrays, tables."""

from pathlib import Path

import numpy as np
import pytest

import vita_data
from vita_data.cli.main import main
from vita_data.errors import ManifestError, RequestError
from vita_data.shards.index import read_card
from vita_data.slots import RIGHT_ACTION


@pytest.fixture(scope="module")
def bridge(toy_shards: Path) -> vita_data.BuiltSource:
    return vita_data.open_source(toy_shards / "bridge")


def test_it_has_as_many_clips_as_its_card_says(bridge: vita_data.BuiltSource) -> None:
    listed = read_card(bridge.folder)["shards"]["train"]
    assert len(bridge) == sum(shard["num_clips"] for shard in listed) > 1
    assert [clip.key for clip in bridge] == bridge.clips["key"].to_list()
    assert bridge.name == "bridge"
    assert "bridge" in repr(bridge)


def test_a_clip_is_found_by_number_key_and_slice(bridge: vita_data.BuiltSource) -> None:
    first, last = bridge[0], bridge[-1]
    assert bridge[first.key].episode == first.episode
    assert [clip.key for clip in bridge[1:]][-1] == last.key
    with pytest.raises(IndexError, match=f"expected a clip below {len(bridge)}"):
        bridge[len(bridge)]
    with pytest.raises(KeyError, match=f"did you mean '{first.key}'"):
        bridge[first.key[:-1]]
    assert bridge[np.int64(0)].key == first.key
    for wrong in (1.5, None):
        with pytest.raises(RequestError, match=f"expected a clip's number, key or a slice, got {wrong}$"):
            bridge[wrong]


def test_a_clip_gives_arrays_in_physical_units(bridge: vita_data.BuiltSource) -> None:
    clip = bridge[0]
    frames, rows = clip.frames("primary"), clip.frame_rows("primary")
    assert frames.shape == (len(rows), 256, 256, 3)
    assert frames.dtype == np.uint8
    assert clip.action is not None
    assert clip.action.shape == (len(clip.step_index), 40)
    assert clip.action_mask[RIGHT_ACTION : RIGHT_ACTION + 7].all()
    assert not clip.action[:, ~clip.action_mask].any()
    assert clip.state is not None
    assert clip.state.shape == (len(clip.step_index), 64)
    assert clip.instruction == clip.instructions[0].text
    assert clip.hz == 5.0
    with pytest.raises(RequestError, match="camera 'wrist' not found; it has primary"):
        clip.frames("wrist")


def test_video_has_frames_and_no_vectors(toy_shards: Path) -> None:
    clip = vita_data.open_source(toy_shards / "ssv2")[0]
    assert clip.action is None
    assert clip.state is None
    assert not clip.action_mask.any()
    assert len(clip.frames()) == len(clip.frame_rows())


def test_a_source_with_depth_has_it_in_metres_beside_its_frames(tmp_path: Path) -> None:
    assert main(["toy", "--source", "fmb", "--raw", str(tmp_path / "raw")]) == 0
    words = [
        "build",
        "--source",
        "fmb",
        "--raw",
        str(tmp_path / "raw/fmb"),
        "--out",
        str(tmp_path),
        "--set",
        "depth=true",
    ]
    assert main(words) == 0
    clip = vita_data.open_source(tmp_path / "fmb")[0]
    assert set(clip.depth_cameras) == set(clip.cameras)
    assert repr(clip)
    depth = clip.depth("primary")
    assert depth.shape == (len(clip.frame_rows("primary")), 256, 256)
    assert 0.05 < depth[depth > 0].mean() < 20
    with pytest.raises(RequestError, match="camera 'wrist_left' not found; it has primary"):
        clip.depth("wrist_left")


def test_tables_are_polars_frames(bridge: vita_data.BuiltSource) -> None:
    assert bridge.clips.height == len(bridge)
    assert {"key", "episode", "instruction", "num_steps"} <= set(bridge.clips.columns)
    outcomes = bridge.episodes["outcome"].value_counts()
    assert outcomes.height >= 1
    assert bridge.episodes.height >= bridge.clips["episode"].n_unique()


def test_a_source_that_is_not_built_is_refused(toy_shards: Path) -> None:
    with pytest.raises(ManifestError, match=r"dataset\.json is missing; run `vita-data build --source absent"):
        vita_data.open_source(toy_shards / "absent")
