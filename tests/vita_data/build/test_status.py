"""How far a build is, asked from outside while others write."""

import os
from pathlib import Path

import pytest

from tests.vita_data.build.made import many_parts, request
from vita_data.build import Listeners, Share, build, status
from vita_data.build.run import UnitDone
from vita_data.build.status import BuildStatus
from vita_data.errors import RequestError
from vita_data.storage import list_files


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
