"""`vita-data export` refuses what may not be exported, and leaves nothing behind that is not complete."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vita_data.shards.test_hostile import change_metadata, changed
from vita_data.cli.main import main
from vita_data.command import progress
from vita_data.dataset import BuiltSource
from vita_data.errors import RequestError
from vita_data.export.lerobot.features import find_layout
from vita_data.export.opened import ExportRequest, open_for_export


def export(folder: Path, out: Path, *words: str, form: str = "lerobot") -> int:
    return main(["export", str(folder), "--format", form, "--out", str(out), *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ssv2", "parquet"], r"forbids passing the data on; if the export stays in house, add --in-house"),
        (["bridge", "lerobot"], r"build it again: `vita-data build --source bridge --raw RAW --out .* --frames all`"),
        (["ssv2", "lerobot", "--in-house"], r"stores one image a second"),
        (["bridge", "parquet", "--codec", "av1"], r"--codec needs --format lerobot"),
    ],
)
def test_refusals_say_what_to_do(
    words: list[str], told: str, toy_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, form, *options = words
    assert export(toy_shards / name, tmp_path / "out", *options, form=form) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert re.search(told, captured.err), captured.err
    assert list(tmp_path.iterdir()) == []


def test_an_output_with_content_is_not_touched(
    every_row: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert export(every_row / "bridge", tmp_path) == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err
    assert export(every_row / "bridge", tmp_path / "notes.txt") == 2
    assert "is a file; give a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_clips_of_several_rates_are_refused(every_row: Path, tmp_path: Path) -> None:
    source = open_for_export(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out"))
    mixed = replace(source, splits=(*source.splits, BuiltSource(every_row / "libero")))
    with pytest.raises(RequestError, match=r"2 rates, from 5 to 20 Hz.*export it with --format parquet"):
        find_layout(mixed, codec="h264")


def test_a_damaged_shard_leaves_nothing(every_row: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(every_row / "bridge", tmp_path / "bridge")
    (shard,) = (tmp_path / "bridge/val").glob("*.tar")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    for form in ("lerobot", "parquet"):
        assert export(tmp_path / "bridge", tmp_path / "out", form=form) == 1
        assert "do not match crc32" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["bridge"]


def test_the_card_tells_the_licence(every_row: Path, tmp_path: Path, toy_shards: Path) -> None:
    assert export(every_row / "bridge", tmp_path / "open", "--quiet") == 0
    card = (tmp_path / "open/README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "- LeRobot\n" in card
    assert "Licence: CC BY 4.0." in card
    assert "must not be passed on" not in card

    assert export(toy_shards / "ssv2", tmp_path / "closed", "--in-house", "--quiet", form="parquet") == 0
    card = (tmp_path / "closed/README.md").read_text()
    assert "license: other\nlicense_name: " in card
    assert "must not be passed on" in card


def test_progress_result_and_json(
    every_row: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    (tmp_path / "one").mkdir()
    assert export(every_row / "bridge", tmp_path / "one") == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == f"{tmp_path / 'one'}: 6 episodes, 272 rows"
    assert "train: episodes 0 to 3, val: episodes 4 to 5" in told.out
    assert told.err.splitlines()[0].startswith("export bridge: 1 of 6 clips")
    assert export(every_row / "bridge", tmp_path / "two", "--split", "val", "--json", "--quiet") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["num_episodes"] == 2
    assert told.err == ""


@pytest.mark.parametrize("form", ["parquet", "lerobot"])
def test_half_of_a_surrogate_pair_in_a_raw_text_is_exported_as_an_escape(
    every_row: Path, tmp_path: Path, form: str
) -> None:
    folder = Path(shutil.copytree(every_row / "libero", tmp_path / "libero"))
    texts = [{"text": "open \ud800 it", "origin": "human"}]
    change_metadata(folder, changed(instructions=texts, extras={"note": "\ud800"}))
    out = tmp_path / "out"
    assert main(["export", str(folder), "--format", form, "--out", str(out), "--in-house", "--quiet"]) == 0
    stored = b"".join(path.read_bytes() for path in sorted(out.rglob("*.parquet")))
    assert rb"open \ud800 it" in stored
