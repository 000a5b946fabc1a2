"""How far a build is, asked from outside while others write."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vita_data.builder.made import many_parts, request
from vita_data.builder import Listeners, Share, build, status
from vita_data.builder.run import UnitDone
from vita_data.builder.status import BuildStatus
from vita_data.cli.main import main
from vita_data.errors import RequestError
from vita_data.storage.files import list_files


@pytest.fixture(scope="module")
def raw(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_parts(toy_raw / "libero", tmp_path_factory.mktemp("many") / "libero", num_copies=2)


def test_status_follows_a_build(raw: Path, tmp_path: Path) -> None:
    asked = request("libero", raw, tmp_path)
    seen: list[BuildStatus] = []

    def look(done: UnitDone) -> None:
        seen.append(status(asked.folder))

    build(asked, listeners=Listeners(on_unit=look))

    assert [found.num_done for found in seen] == [1, 2, 3, 4]
    assert [found.outcomes["ok"] for found in seen] == [4, 8, 12, 16]
    assert not any(found.finished for found in seen)
    assert seen[0].left_s is None
    assert seen[1].left_s is not None
    after = status(asked.folder)
    assert after.finished
    assert after.left_s == 0
    shards = [path.stat().st_size for path in asked.folder.rglob("*.tar")]
    assert after.num_bytes == sum(shards)


def test_status_tells_what_is_read_of_units_under_way(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One unit of four files is under way: nothing of it is committed, and its report goes when it is."""
    monkeypatch.setattr("vita_data.builder.under_way._REPORT_EVERY_S", 0.0)
    asked = request("libero", raw, tmp_path)
    asked = replace(asked, settings=replace(asked.settings, unit_bytes=1 << 40), limit=14)
    seen: list[BuildStatus] = []
    build(asked, listeners=Listeners(on_progress=lambda progress: seen.append(status(asked.folder))))
    read = list(dict.fromkeys(found.num_episodes_under_way for found in seen))

    assert read == list(range(1, 15))
    assert {(found.num_units_under_way, found.num_episodes_expected, found.num_done) for found in seen} == {(1, 14, 0)}
    assert all(found.reported_s is not None and found.reported_s < 60 for found in seen)
    assert not list(asked.folder.rglob("*.progress"))
    assert status(asked.folder).num_units_under_way == 0
    # one that a killed run left of a unit that is built anew
    (asked.folder / ".build" / "unit-000000.progress").write_text('{"num_episodes": 3, "num_expected": 14}')
    (asked.folder / ".build" / "unit-000000.json").unlink()
    assert main(["status", str(asked.folder)]) == 0
    assert "  units under way: 1, 3 of 14 episodes read; last report " in capsys.readouterr().out
    build(asked)
    assert not list(asked.folder.rglob("*.progress"))


def test_the_pace_is_that_of_the_records(raw: Path, tmp_path: Path) -> None:
    asked = request("libero", raw, tmp_path)
    build(asked, share=Share(rank=0, num_ranks=2))
    for number, at_s in ((0, 1000.0), (2, 1010.0)):
        os.utime(asked.folder / ".build" / f"unit-{number:06d}.json", (at_s, at_s))

    found = status(asked.folder)
    assert (found.num_done, found.num_units) == (2, 4)
    assert found.episodes_per_s == pytest.approx(0.4)
    assert found.left_s == pytest.approx(20.0)


def test_a_file_that_is_renamed_during_the_listing_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other workers commit while one lists: their temporary files come and go."""
    for name in ("a.json", "b.json", "c.json"):
        (tmp_path / name).write_bytes(b"{}")
    scan = os.scandir

    def slow_scan(folder: Path) -> object:
        entries = scan(folder)
        (tmp_path / "b.json").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr("os.scandir", slow_scan)

    assert set(list_files(tmp_path)) == {"a.json", "c.json"}


def test_a_folder_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no build was started"):
        status(tmp_path)
