"""A declared RLDS release builds the same from ArrayRecord files as from tfrecord files."""

import json
import sys
from pathlib import Path

import pytest

from tests.object_store import ObjectStore, files_below
from tests.vita_data.declared.test_commands import file_of
from vita_data.cli.main import main
from vita_data.dataset import BuiltSource
from vita_data.declared import RldsSource
from vita_data.formats.rlds.files import FileFormat
from vita_data.sources import load_own
from vita_model.sims.cli.main import main as evaluate

EXAMPLE, NAME = 2, "my_rlds"
NEUTRAL = "{DATASET}-{SPLIT}.records-{SHARD_X_OF_Y}"
"""Names that do not have the format in them."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return file_of(tmp_path / "declared", EXAMPLE)


def written(file: Path, root: Path, file_format: FileFormat, *, template: str = "") -> Path:
    """Write the toy of the declaration; with a template, its files are renamed."""
    source = load_own(str(file))
    assert isinstance(source, RldsSource)
    source.write_toy(str(root), file_format=file_format)
    release = root / NAME / "1.0.0"
    if template:
        info = json.loads((release / "dataset_info.json").read_text())
        info["splits"][0]["filepathTemplate"] = template
        (release / "dataset_info.json").write_text(json.dumps(info))
        for path in release.glob(f"*.{file_format}-*"):
            path.rename(release / path.name.replace(f".{file_format}-", ".records-"))
    return root


def built(file: Path, raw: str, out: Path, *words: str) -> dict[str, bytes]:
    """Build; return the files that training reads."""
    assert main(["build", "--source-file", str(file), "--raw", raw, "--out", str(out), "--quiet", *words]) == 0
    return {name: data for name, data in files_below(out / NAME).items() if name.endswith((".tar", ".arrow"))}


def test_equal_names_give_equal_shards(file: Path, tmp_path: Path) -> None:
    found = [
        built(file, str(written(file, tmp_path / form, form, template=NEUTRAL)), tmp_path / f"{form}_shards")
        for form in FileFormat
    ]
    assert found[0]
    assert found[0] == found[1]


def test_with_names_of_their_own_they_build_verify_and_replay(file: Path, tmp_path: Path) -> None:
    raw, shards = written(file, tmp_path / "raw", FileFormat.ARRAY_RECORD), tmp_path / "shards"
    built(file, str(raw), shards)
    clips = list(BuiltSource(shards / NAME))

    assert json.loads((shards / NAME / "dataset.json").read_text())["outcomes"] == {"ok": 3}
    assert all(".array_record-0000" in clip.episode for clip in clips)
    assert main(["verify", str(shards / NAME)]) == 0
    asked = ["--source-file", str(file), "--raw", str(raw), "--shards", str(shards / NAME), "--quiet"]
    assert evaluate(["replay", *asked]) == 0


def test_workers_stores_and_a_second_run_change_nothing(file: Path, tmp_path: Path, store: ObjectStore) -> None:
    raw = written(file, tmp_path / "raw", FileFormat.ARRAY_RECORD)
    bucket = store.make_bucket()
    store.upload(raw, f"{bucket}/raw")
    first = built(file, str(raw), tmp_path / "first", "--workers", "1")
    assert first == built(file, str(raw), tmp_path / "second", "--workers", "2")
    assert first == built(file, f"{bucket}/raw", tmp_path / "third", "--workers", "1")

    lost = next(path for path in (tmp_path / "first").rglob("*.tar"))
    lost.unlink()
    assert first == built(file, str(raw), tmp_path / "first")


def test_without_the_package_one_line_names_the_extra(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = written(file, tmp_path / "raw", FileFormat.ARRAY_RECORD)
    (tmp_path / "array_record.py").write_text("raise ImportError('absent')")
    monkeypatch.syspath_prepend(tmp_path)  # workers are given this path
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    for words in (
        ["build", "--source-file", str(file), "--out", str(tmp_path / "shards"), "--raw"],
        ["probe", "--source-file", str(file), "--raw"],
        ["new-source", "--out", str(tmp_path / "draft.py"), "--from"],
    ):
        assert main([*words, str(raw)]) == 2
        told = capsys.readouterr().err
        assert told.splitlines()[-1].endswith("pip install -e '.[arrayrecord]'")
        assert "its files are ArrayRecord, which needs array_record" in told
