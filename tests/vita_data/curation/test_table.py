"""The table of episodes has every raw episode once, with what the build and the index know of it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import vita_data
from vita_data.curation.table import COLUMNS, episode_table
from vita_data.errors import ManifestError, ShardError


def test_every_raw_episode_is_one_row_in_the_order_of_the_raw_data(built: Path) -> None:
    for name in ("bridge", "libero"):
        table, raw = episode_table(built / name), pq.read_table(built / name / "episodes.parquet").to_pylist()
        assert tuple(table.columns) == COLUMNS
        assert table["id"].to_list() == [row["id"] for row in raw]
        assert table["reason"].to_list() == [row["reason"] for row in raw]
        assert set(table["source"]) == {name}


def test_a_stored_episode_has_what_its_index_says_and_another_has_nothing(built: Path) -> None:
    table = episode_table(built / "bridge")
    clips = {
        clip.episode: clip
        for split in ("train", "val")
        for clip in vita_data.open_source(built / "bridge", split=split)
    }
    for row in table.iter_rows(named=True):
        if row["outcome"] == "ok":
            clip = clips[row["id"]]
            assert (row["text"], row["hz"]) == (clip.instruction, clip.hz)
            assert row["length_s"] == pytest.approx(len(clip.step_index) / clip.hz)
        else:
            assert (row["text"], row["suite"], row["length_s"], row["hz"]) == ("", "", 0.0, None)
    assert set(episode_table(built / "libero")["suite"]) == {"libero_90", "libero_spatial"}


def test_python_users_get_the_same_table(built: Path) -> None:
    assert vita_data.open_source(built / "bridge").episodes.equals(episode_table(built / "bridge"))


def test_a_folder_without_a_source_and_a_damaged_list_are_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"dataset\.json is missing"):
        episode_table(tmp_path)
    for file in ("dataset.json", "episodes.parquet"):
        (tmp_path / file).write_bytes((built / "bridge" / file).read_bytes())
    (tmp_path / "episodes.parquet").write_bytes(b"x")
    with pytest.raises(ShardError, match="does not match the card's sha256"):
        episode_table(tmp_path)
