"""The Parquet form is opened by `datasets` and polars without help, and holds what the shards hold."""

from pathlib import Path

import datasets
import numpy as np
import polars as pl
import pytest

import vita_data
from vita_data.export.opened import ExportRequest
from vita_data.export.parquet import export_parquet


@pytest.fixture(scope="module")
def exported(every_row: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parquet") / "out"
    export_parquet(ExportRequest(folder=every_row / "robomind_agilex", out=out))
    return out


def test_datasets_opens_it(exported: Path, every_row: Path, tmp_path: Path) -> None:
    found = datasets.load_dataset("parquet", data_dir=str(exported), cache_dir=str(tmp_path))
    source = vita_data.open_source(every_row / "robomind_agilex")

    assert {split: len(rows) for split, rows in found.items()} == {"train": 2, "validation": 1}
    for row, clip in zip(found["train"], source, strict=True):
        assert (row["key"], row["instruction"], row["hz"]) == (clip.key, clip.instruction, clip.hz)
        assert np.array_equal(np.array(row["action"], np.float32), clip.action)
        assert np.array_equal(np.array(row["state"], np.float32), clip.state)
        assert row["action_mask"] == clip.action_mask.tolist()
        assert row["wrist_left_rows"] == clip.frame_rows("wrist_left").tolist()
        assert np.abs(np.asarray(row["wrist_left"][-1]).astype(int) - clip.frames("wrist_left")[-1]).max() <= 4


def test_polars_opens_it(exported: Path, every_row: Path) -> None:
    found = pl.read_parquet(exported / "data/*.parquet")
    (clip,) = vita_data.open_source(every_row / "robomind_agilex", split="val")
    row = found.filter(pl.col("split") == "val")

    assert found.height == 3
    assert np.array_equal(row["state"][0].to_numpy(), clip.state)
    assert row["step_index"][0].to_list() == clip.step_index.tolist()
    assert row["primary"][0][0]["bytes"] == clip.clip.frames[clip.cameras[0]][0].jpeg
    assert row["instructions"][0].to_list()[0]["text"] == clip.instructions[0].text


def test_video_sources_have_no_vectors(toy_shards: Path, tmp_path: Path) -> None:
    export_parquet(ExportRequest(folder=toy_shards / "ssv2", out=tmp_path / "out", in_house=True))
    found = pl.read_parquet(tmp_path / "out/data/*.parquet")

    assert found["action"].null_count() == found["state"].null_count() == found.height
    assert found["primary"].list.len().to_list() == found["primary_rows"].list.len().to_list()


def test_large_exports_are_several_files(every_row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.export.parquet._GROUP_BYTES", 1)
    export_parquet(ExportRequest(folder=every_row / "libero", out=tmp_path / "out"), file_bytes=1)
    assert [path.name for path in sorted((tmp_path / "out/data").iterdir())] == [
        *(f"train-{number:06d}.parquet" for number in range(5)),
        *(f"val-{number:06d}.parquet" for number in range(3)),
    ]
    assert pl.read_parquet(tmp_path / "out/data/*.parquet").height == 8
