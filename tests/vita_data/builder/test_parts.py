"""What a build and a probe refuse before they read: parts that are one, or of which none is there."""

import errno
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.builder.parts import PartList, list_parts
from vita_data.builder.run import BuildState
from vita_data.errors import RequestError, SourceError, StorageError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.shards.verify import verify
from vita_data.types import Part


@pytest.fixture
def raw(toy_raw: Path, tmp_path: Path) -> Path:
    """Recordings `<task>/<scene>/<episode>.hdf5`."""
    return Path(shutil.copytree(toy_raw / "ur5e", tmp_path / "raw"))


def parts_of(raw: Path) -> PartList:
    source = sources.load("ur5e")
    return list_parts(source, FsspecTree(str(raw)), source.Settings())


@pytest.mark.parametrize(
    ("link", "target", "told"),
    [
        ("12", "11", "11 and 12 are the same"),
        ("02/scene_9", "scene_004", "02/scene_004 and 02/scene_9 are the same"),
        ("02/scene_9", "../11/scene_001", "02/scene_9 and 11/scene_001 are the same"),
        ("11/scene_001/latest.hdf5", "000.hdf5", "11/scene_001/000.hdf5 and 11/scene_001/latest.hdf5 are the same"),
    ],
)
def test_links_that_make_one_folder_or_file_two_are_refused(raw: Path, link: str, target: str, told: str) -> None:
    (raw / link).symlink_to(target)
    with pytest.raises(RequestError, match=rf"{told}.*be read twice; remove the link"):
        parts_of(raw)


def test_a_link_to_itself_is_a_part_that_cannot_be_read_and_not_one_that_is_there_twice(raw: Path) -> None:
    """Before, listing the parts never ended."""
    (raw / "11/scene_001/000.hdf5").unlink()
    (raw / "11/scene_001/000.hdf5").symlink_to("000.hdf5")
    assert [part.num_bytes for part in parts_of(raw).parts][-1] == 0


def test_equal_files_that_a_store_keeps_once_are_two(raw: Path, tmp_path: Path) -> None:
    """As in the cache of Hugging Face, where the names of equal files are links to one blob."""
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    (raw / "11/scene_001/000.hdf5").rename(blob)
    for name in ("000.hdf5", "001.hdf5"):
        (raw / "11/scene_001" / name).symlink_to(os.path.relpath(blob, raw / "11/scene_001"))
    assert [part.id for part in parts_of(raw).parts][-2:] == ["11/scene_001/000.hdf5", "11/scene_001/001.hdf5"]


def test_a_name_that_is_not_utf_8_is_read_and_stored_with_escapes(raw: Path, tmp_path: Path) -> None:
    (raw / os.fsdecode(b"caf\xe9")).mkdir()
    assert len(parts_of(raw).parts) == 5
    (raw / "01").rename(raw / os.fsdecode(b"01\xe9"))
    settings = sources.load("ur5e").Settings()
    asked = BuildRequest(source="ur5e", raw=str(raw), out=tmp_path / "out", settings=settings)
    build(asked)

    rows = pq.read_table(asked.folder / "episodes.parquet").to_pylist()
    renamed = [row for row in rows if row["part"].startswith(r"01\udce9/")]
    assert [row["outcome"] for row in renamed] == ["ok", "ok"]
    assert all(row["id"] == row["part"] for row in renamed)
    assert not verify(asked.folder).problems
    assert build(asked).state is BuildState.ALREADY_DONE


def test_a_clone_whose_data_were_not_fetched_is_told_what_to_run(raw: Path) -> None:
    for file in raw.rglob("*.hdf5"):
        file.unlink()
        file.symlink_to("../../.git/annex/objects/Xk/9q/MD5E-s1--0a.hdf5/MD5E-s1--0a.hdf5")
    with pytest.raises(
        RequestError,
        match=r"all 5 files that should hold the episodes are missing or empty.*git-annex.*; run `git annex get`",
    ):
        parts_of(raw)


@pytest.mark.parametrize("fault", [RecursionError("too deep"), KeyError("x"), OverflowError("int too large")])
def test_a_description_that_cannot_be_used_is_an_error_in_words(
    raw: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Before, it ended the command with a traceback."""

    def parts(*_: object) -> list[Part]:
        raise fault

    monkeypatch.setattr(sources.load("ur5e"), "parts", parts)
    with pytest.raises(SourceError, match=rf"--raw {raw}: cannot be read; .*{type(fault).__name__}.* fetch it again"):
        parts_of(raw)


def test_a_disk_that_fails_while_parts_are_listed_is_not_the_datas_fault(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(*_: object) -> list[Part]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sources.load("ur5e"), "parts", parts)
    with pytest.raises(StorageError, match="Input/output error"):
        parts_of(raw)
