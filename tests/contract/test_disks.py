"""Every source reads its tree as it lies on people's disks: of links, locked, passed through macOS, cloned without LFS.

No source is named here, and no frame is decoded: what is compared is which episodes come out and what is known of them.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw_trees import (
    LFS_POINTER,
    files_of,
    folders_of,
    linked_at,
    linked_everywhere,
    locked,
    same_files,
    strew_companions,
    strew_copies,
)
from vita_data import sources
from vita_data.builder.parts import list_parts
from vita_data.errors import RequestError, StorageError, VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.types import Drop, Failure, Outcome

NAMES = sources.names()


def outcomes(name: str, raw: Path) -> list[tuple[object, ...]]:
    source, tree = sources.load(name), FsspecTree(str(raw))
    settings = source.Settings()
    parts = source.parts(tree, settings)
    listed: list[tuple[object, ...]] = [(part.id, part.num_bytes, part.num_episodes) for part in parts]
    return listed + [summary(found) for part in parts for found in source.episodes(tree, part, settings)]


def summary(found: Outcome) -> tuple[object, ...]:
    if isinstance(found, Drop):
        return found.episode, found.reason, found.detail
    if isinstance(found, Failure):
        return found.episode, "failed", found.detail
    cameras = {role: stream.num_frames for role, stream in found.cameras.items()}
    return found.id, "ok", found.instructions, found.release, found.split, found.step_index.tolist(), cameras


@pytest.fixture(scope="module")
def whole(toy_raw: Path) -> dict[str, list[tuple[object, ...]]]:
    """The outcomes of every source's tree as it was written."""
    return {name: outcomes(name, toy_raw / name) for name in NAMES}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("name", NAMES)
def test_links_in_place_of_folders_and_files_change_nothing(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw = toy_raw / name
    deepest = max(len(path.parts) for path in files_of(raw))
    for depth in range(1, deepest + 1):
        assert outcomes(name, linked_at(raw, tmp_path / f"{depth}", depth=depth)) == whole[name]
    (tmp_path / "pool").mkdir()
    (tmp_path / "raw").symlink_to(linked_everywhere(raw, tmp_path / "pool"))
    assert outcomes(name, tmp_path / "raw") == whole[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_may_not_be_listed_is_a_refusal_at_any_depth(name: str, toy_raw: Path, place: Path) -> None:
    raw = same_files(toy_raw / name, place / "raw")
    for folder in folders_of(raw):
        with (
            locked(raw / folder),
            pytest.raises(StorageError, match=rf"{raw / folder}: permission denied; change its permissions"),
        ):
            outcomes(name, raw)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_may_not_be_read_is_a_refusal_and_not_called_damaged(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], place: Path
) -> None:
    raw, num_refused = same_files(toy_raw / name, place / "raw"), 0
    for file in one_of_each_kind(raw):
        data = (raw / file).read_bytes()
        (raw / file).unlink()  # the other name of the file keeps its rights
        (raw / file).write_bytes(data)
        with locked(raw / file):
            refusal = refusal_of(name, raw, whole[name])
        if refusal:
            assert re.search(rf"{re.escape(str(file))}.*permission denied; change its permissions", refusal)
            assert "fetch" not in refusal
        num_refused += bool(refusal)
    assert num_refused


@pytest.mark.parametrize("name", NAMES)
def test_what_macos_leaves_in_every_folder_changes_nothing(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw = same_files(toy_raw / name, tmp_path / "raw")
    strew_companions(raw)
    assert outcomes(name, raw) == whole[name]


@pytest.mark.parametrize("name", NAMES)
def test_trash_and_unfinished_copies_in_every_folder_change_nothing(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw = same_files(toy_raw / name, tmp_path / "raw")
    strew_copies(toy_raw / name, raw)
    assert outcomes(name, raw) == whole[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_link_to_a_folder_or_file_is_refused_or_passed_over(name: str, toy_raw: Path, tmp_path: Path) -> None:
    """Else its episodes would come twice, without a word."""
    source = sources.load(name)

    def listed(raw: Path) -> list[str]:
        return [part.id for part in list_parts(source, FsspecTree(str(raw)), source.Settings()).parts]

    raw = same_files(toy_raw / name, tmp_path / "raw")
    whole = listed(raw)
    for path in (*folders_of(raw)[1:], *one_of_each_kind(raw)):
        link = raw / path.with_name(f"again_{path.name}")
        link.symlink_to(path.name)
        with contextlib.suppress(RequestError):  # which says what to choose or to remove
            assert listed(raw) == whole
        link.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_nothing_in_place_of_a_file_fails_or_is_refused(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw, num_told = same_files(toy_raw / name, tmp_path / "raw"), 0
    for file in one_of_each_kind(raw):
        moved = (raw / file).rename(tmp_path / "moved")
        (raw / file).symlink_to(tmp_path / "nowhere")
        fault = fault_of(name, raw, whole[name])
        assert re.search(rf"^$|{re.escape(str(file))}\b.*([Nn]o such file|broken link)", fault)
        moved.replace(raw / file)
        num_told += bool(fault)
    assert num_told


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_nothing_in_place_of_a_folder_is_not_passed_over(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw = same_files(toy_raw / name, tmp_path / "raw")
    for folder in folders_of(raw)[1:]:
        moved = (raw / folder).rename(tmp_path / "moved")
        (raw / folder).symlink_to(tmp_path / "nowhere")
        assert str(folder) in fault_of(name, raw, whole[name])
        (raw / folder).unlink()
        moved.rename(raw / folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_git_lfs_pointer_in_place_of_a_file_is_named_so(
    name: str, toy_raw: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    raw, num_told = same_files(toy_raw / name, tmp_path / "raw"), 0
    for file in one_of_each_kind(raw):
        moved = (raw / file).rename(tmp_path / "moved")
        (raw / file).write_bytes(LFS_POINTER)
        fault = fault_of(name, raw, whole[name])
        assert re.search(rf"^$|{re.escape(str(file))}\b.*Git LFS pointer.*git lfs pull", fault)
        assert "fetch" not in fault
        moved.replace(raw / file)
        num_told += bool(fault)
    assert num_told


def one_of_each_kind(raw: Path) -> list[Path]:
    """One file of those whose names differ by their digits alone."""
    return list({re.sub(r"\d", "", str(file)): file for file in reversed(files_of(raw))}.values())


def refusal_of(name: str, raw: Path, whole: list[tuple[object, ...]]) -> str:
    """Say why a tree is refused; empty for one that reads as the whole one does, since nobody looks at the file."""
    try:
        found = outcomes(name, raw)
    except StorageError as error:
        return str(error)
    assert found == whole
    return ""


def fault_of(name: str, raw: Path, whole: list[tuple[object, ...]]) -> str:
    """Say what is wrong with a tree, or with its first episode that fails; empty where nobody looks at the file."""
    try:
        found = outcomes(name, raw)
    except VitaDataError as error:
        return str(error)
    details = [str(row[2]) for row in found if row[1] == "failed"]
    if not details:
        assert [row for row in found if row[1] == "ok"] == [row for row in whole if row[1] == "ok"]
        return ""
    return details[0]
