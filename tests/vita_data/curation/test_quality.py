"""The measures of episodes: exact on motions that are known, and copies are found."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vita_data
from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.cli.main import main
from vita_data.curation import quality
from vita_data.curation.quality import with_quality
from vita_data.curation.table import episode_table
from vita_data.shards.index import open_source
from vita_data.shards.reader import ShardFiles
from vita_data.types import Clip, Split, Track

ROWS, HZ = 20, 5.0


def moving(built: Path, forward_m: np.ndarray, *, steps: np.ndarray | None = None, valid: int = ROWS) -> Clip:
    """A clip whose right arm goes forward by these steps; its gripper stays."""
    clip = vita_data.open_source(built / "bridge")[0].clip
    assert clip.action is not None
    values = np.zeros((ROWS, 40), np.float32)
    values[:, 16], values[:, 22] = forward_m, 1.0
    action = replace(clip.action, track=Track(values=values, mask=clip.action.track.mask), valid=((0, valid),))
    return replace(clip, action=action, step_index=np.arange(ROWS) if steps is None else steps, hz=HZ)


def test_speed_jerk_and_idle_share_of_known_motions(built: Path) -> None:
    k = np.arange(ROWS)
    still, steady = np.zeros(ROWS), np.full(ROWS, 0.01)
    half = np.where(k < ROWS // 2, 0.0, 0.01)

    assert quality._motion(moving(built, still)) == (0.0, 0.0, 1.0)
    assert quality._motion(moving(built, steady)) == (pytest.approx(0.01 * HZ), pytest.approx(0, abs=1e-6), 0.0)
    assert quality._motion(moving(built, 1e-4 * k**2))[1] == pytest.approx(2e-4 * HZ**3, rel=1e-4)
    assert quality._motion(moving(built, half))[2] == 0.5
    assert quality._motion(moving(built, half, valid=ROWS // 2)) == (0.0, 0.0, 1.0), "invalid rows do not count"
    assert quality._motion(replace(moving(built, still), action=None)) == (None, None, None)


def test_jerk_is_not_measured_over_a_gap(built: Path) -> None:
    k = np.arange(ROWS)
    jump = np.where(k < ROWS // 2, 0.0, 0.05)

    assert quality._motion(moving(built, jump))[1] > 0.1
    assert quality._motion(moving(built, jump, steps=k + 7 * (k >= ROWS // 2)))[1] == pytest.approx(0)


def test_static_and_black_images_are_counted(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard, row = open_source(built / "bridge", Split.TRAIN).place(0)
    images = [np.full((32, 32), level) for level in (0.0, 0.5, 100.0, 100.9, 130.0)]
    monkeypatch.setattr(quality, "_grey", lambda *_: images)
    found = quality.measure(ShardFiles(), shard, row)
    assert (found.black_share, found.static_share) == (0.4, 0.5)
    monkeypatch.setattr(quality, "_grey", lambda *_: [])
    found = quality.measure(ShardFiles(), shard, row)
    assert (found.black_share, found.static_share, found.image_hash) == (None, None, "")


def test_a_perceptual_hash_survives_small_changes_only() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (4, 4)).repeat(8, axis=0).repeat(8, axis=1)
    image += np.linspace(0, 20, 32)[None]
    assert quality._difference_hash(image + 0.01) == quality._difference_hash(image)
    assert quality._difference_hash(image[:, ::-1]) != quality._difference_hash(image)
    assert len(quality._difference_hash(image)) == 16


def test_copies_name_the_first_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = sources.load("libero")
    raw = tmp_path / "raw"
    raw.mkdir()
    toy.write_toy(str(raw))
    shutil.copytree(raw / "libero_90", raw / "libero_10")
    build(BuildRequest(source="libero", raw=str(raw), out=tmp_path, settings=toy.Settings()))
    table = with_quality(episode_table(tmp_path / "libero"), tmp_path / "libero")
    first = dict(zip(table["id"], table["same_actions_as"], strict=True))
    copies = {id_: original for id_, original in first.items() if original}

    assert {original: id_ for id_, original in copies.items()} == {
        id_.replace("libero_90", "libero_10"): id_ for id_ in first if id_.startswith("libero_90")
    }
    assert table["same_images_as"].to_list() == table["same_actions_as"].to_list()
    capsys.readouterr()
    words = ["episodes", str(tmp_path / "libero"), "--quality", "--where", "same_actions_as <> ''", "--json"]
    assert main(words) == 0
    assert {row["id"] for row in json.loads(capsys.readouterr().out)} == set(copies)


def test_a_measure_without_quality_is_refused_with_what_to_do(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["episodes", str(built), "--where", "idle_share > 0.9"]) == 2
    assert "measured only by `vita-data episodes --quality`" in capsys.readouterr().err


def test_episodes_that_were_not_stored_and_videos_have_no_measures(built: Path) -> None:
    table = with_quality(episode_table(built / "bridge"), built / "bridge")
    for row in table.iter_rows(named=True):
        assert (row["speed_m_s"] is not None) == (row["outcome"] == "ok")
        assert (row["action_hash"] != "") == (row["outcome"] == "ok")
        assert row["same_actions_as"] == ""
