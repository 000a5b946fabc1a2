"""A raw tree on a disk: links are followed at every level, and what cannot be seen is refused, not passed over."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw_trees import locked
from vita_data.errors import RequestError, StorageError
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.formats.raw_tree.tree import FsspecTree

READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@pytest.fixture
def raw() -> Iterator[Path]:
    """A folder that every user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in ("01/scene_0/a.hdf5", "01/scene_1/b.hdf5", "02/scene_0/c.hdf5", "02/fixed/data/d.hdf5"):
            path = Path(folder, "raw", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        yield Path(folder, "raw")


def move_and_link(path: Path, *, relative: bool = False) -> None:
    """Replace a file or folder by a link to where it is moved."""
    moved = path.parents[len(path.parts) - len(Path(tempfile.gettempdir()).parts) - 2] / f"moved-{path.name}"
    path.rename(moved)
    path.symlink_to(os.path.relpath(moved, path.parent) if relative else moved)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("linked", ["", "01", "01/scene_1", "01/scene_1/b.hdf5"])
def test_links_to_files_and_folders_are_followed_at_every_level(raw: Path, linked: str, relative: bool) -> None:
    whole = FsspecTree(str(raw)).glob("*/*/*.hdf5")
    move_and_link(raw / linked, relative=relative)
    tree = FsspecTree(str(raw))
    assert tree.glob("*/*/*.hdf5") == whole == ["01/scene_0/a.hdf5", "01/scene_1/b.hdf5", "02/scene_0/c.hdf5"]
    assert tree.glob("0*/scene_1/b.hdf5") == ["01/scene_1/b.hdf5"]
    assert tree.glob("01/*") == ["01/scene_0", "01/scene_1"]
    assert tree.exists("01/scene_1/b.hdf5")
    assert tree.size("01/scene_1/b.hdf5") == len("01/scene_1/b.hdf5")


def test_what_lies_beside_a_linked_root_is_found_beside_the_link_and_beside_the_folder(raw: Path) -> None:
    other = raw.parent / "other"
    other.mkdir()
    raw.rename(other / "raw")
    raw.symlink_to(other / "raw")
    (raw.parent / "by_link.txt").write_text("1")
    (other / "by_folder.txt").write_text("2")
    tree = FsspecTree(str(raw))
    assert [tree.read_bytes(f"../{name}.txt") for name in ("by_link", "by_folder")] == [b"1", b"2"]
    assert not tree.exists("../neither.txt")


@pytest.mark.parametrize("target", ["..", ".", "../..", "/", "loop"])
def test_a_link_that_leads_back_is_refused(raw: Path, target: str) -> None:
    (raw / "01" / "loop").symlink_to(target)
    with pytest.raises(RequestError, match=r"01/loop .*link.*remove"):
        FsspecTree(str(raw)).glob("*/*/*.hdf5")


def test_links_to_each_other_are_refused_also_on_a_level_without_a_wildcard(raw: Path) -> None:
    (raw / "02" / "there").symlink_to("back")
    (raw / "02" / "back").symlink_to("there")
    tree = FsspecTree(str(raw))
    with pytest.raises(RequestError, match="points back to itself"):
        tree.glob("*/there/*.hdf5")
    with pytest.raises(RequestError, match="points back to itself"):
        tree.exists("02/there/c.hdf5")


def test_a_link_to_a_folder_beside_is_no_loop(raw: Path) -> None:
    (raw / "01" / "scene_2").symlink_to(raw / "02" / "scene_0")
    assert "01/scene_2/c.hdf5" in FsspecTree(str(raw)).glob("*/*/*.hdf5")


@pytest.mark.parametrize("pattern", ["*/*/*.hdf5", "01/gone/*.hdf5", "*/gone/*"])
def test_a_folder_that_is_a_link_to_nothing_is_refused(raw: Path, pattern: str) -> None:
    """Nobody knows which episodes it held."""
    (raw / "01" / "gone").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"01/gone is a broken link \(target: nowhere\); restore"):
        FsspecTree(str(raw)).glob(pattern)
    with pytest.raises(StorageError, match="01/gone is a broken link"):
        FsspecTree(str(raw)).exists("01/gone/x.hdf5")


def test_a_stray_link_to_itself_hides_nothing_of_its_folder(raw: Path) -> None:
    (raw / "01/scene_0/loop").symlink_to("loop")
    found = FsspecTree(str(raw)).list_folder("01/scene_0")
    assert found is not None
    assert {(entry.name, entry.is_folder) for entry in found} == {("a.hdf5", False), ("loop", False)}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_fault_of_the_disk_in_a_listed_folder_is_no_lack_of_rights(
    raw: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_stat = os.stat

    def faulty(path: object, *arguments: object, **options: object) -> os.stat_result:
        if str(path).startswith(f"{raw}/01/"):
            raise OSError(code, os.strerror(code))
        return true_stat(path, *arguments, **options)  # type: ignore[call-overload,no-any-return]

    tree = FsspecTree(str(raw))
    monkeypatch.setattr("os.stat", faulty)
    monkeypatch.setattr("os.access", lambda *arguments, **options: False)
    with pytest.raises(StorageError, match=os.strerror(code)) as caught:
        tree.glob("01/*")
    assert "permissions" not in str(caught.value)


def test_a_file_that_is_a_link_to_nothing_is_listed_and_has_no_bytes(raw: Path) -> None:
    (raw / "01" / "scene_0" / "gone.hdf5").symlink_to("nowhere")
    tree = FsspecTree(str(raw))
    for pattern in ("*/*/*.hdf5", "01/*/gone.hdf5", "01/scene_0/gone.hdf5"):
        assert "01/scene_0/gone.hdf5" in tree.glob(pattern)
    assert tree.exists("01/scene_0/gone.hdf5")
    assert tree.is_dangling("01/scene_0/gone.hdf5")
    assert tree.size("01/scene_0/gone.hdf5") == 0
    with pytest.raises(FileNotFoundError):
        tree.read_bytes("01/scene_0/gone.hdf5")


@pytest.mark.parametrize("pattern", ["*/gone/x.hdf5", "01/*/x.hdf5", "01/gone/x.hdf5"])
def test_the_one_file_of_a_folder_that_is_a_link_to_nothing_is_listed_and_fails(raw: Path, pattern: str) -> None:
    """As the recording of each folder of RoboMIND: it costs no others."""
    (raw / "01" / "gone").symlink_to("nowhere")
    tree = FsspecTree(str(raw))
    assert tree.glob(pattern) == ["01/gone/x.hdf5"]
    assert tree.size("01/gone/x.hdf5") == 0
    assert tree.is_dangling("01/gone/x.hdf5")
    assert not tree.is_dangling("01/scene_0/x.hdf5")
    assert "a broken link" in unreadable(tree.local_path("01/gone/x.hdf5"), name="x", reason="broken")


def test_a_file_that_is_a_link_to_nothing_is_no_folder(raw: Path) -> None:
    for name in ("gone.hdf5", "gone.tfrecord-00000-of-00002", "README.md"):
        (raw / "01" / name).symlink_to("nowhere")
    tree = FsspecTree(str(raw))
    assert tree.glob("*/*/*.hdf5") == ["01/scene_0/a.hdf5", "01/scene_1/b.hdf5", "02/scene_0/c.hdf5"]
    assert tree.glob("*/*/dataset_info.json") == []
    assert tree.glob("*/*.hdf5") == ["01/gone.hdf5"]


@pytest.mark.parametrize("name", ["1.0.0", "172910045527931776.00", "scene"])
def test_a_dot_in_its_name_makes_no_file_of_a_folder(raw: Path, name: str) -> None:
    (raw / "01" / name).symlink_to("nowhere")
    assert FsspecTree(str(raw)).glob("*/*/info.json") == [f"01/{name}/info.json"]


def test_a_root_that_is_a_link_to_nothing_or_a_file_is_named_so(raw: Path) -> None:
    (raw / "gone").symlink_to("nowhere")
    with pytest.raises(RequestError, match=r"gone: a broken link"):
        FsspecTree(str(raw / "gone"))
    with pytest.raises(RequestError, match=r"a\.hdf5 is a file"):
        FsspecTree(str(raw / "01" / "scene_0" / "a.hdf5"))


@pytest.mark.parametrize(
    ("barred", "pattern", "mode"),
    [
        ("", "*/*/*.hdf5", 0),
        ("01", "*/*/*.hdf5", 0),
        ("01", "*/*/*.hdf5", READABLE),
        ("01/scene_1", "*/*/*.hdf5", 0),
        ("02/fixed/data", "*/*/data/*.hdf5", 0),
        ("02/fixed/data", "*/fixed/data/d.hdf5", READABLE),
        ("02/fixed", "*/*/data/d.hdf5", 0),
        ("02/fixed", "02/fixed/data/d.hdf5", 0),
    ],
)
def test_a_folder_that_may_not_be_listed_is_refused_at_any_depth(
    raw: Path, barred: str, pattern: str, mode: int
) -> None:
    folder = raw / barred
    with (
        locked(folder, mode),
        pytest.raises(StorageError, match=rf"cannot open {folder}: permission denied; change its permissions"),
    ):
        FsspecTree(str(raw)).glob(pattern)


def test_what_lies_in_a_folder_that_may_not_be_entered_is_not_called_absent(raw: Path) -> None:
    with locked(raw / "01"):
        tree = FsspecTree(str(raw))
        for look in (tree.exists, tree.size):
            with pytest.raises(StorageError, match="/raw/01: permission denied; change its permissions"):
                look("01/scene_0/a.hdf5")


def test_the_rest_of_a_pattern_is_looked_for_without_listing_a_folder(raw: Path) -> None:
    """CALVIN's folders hold millions of files."""
    with locked(raw / "01" / "scene_0", EXECUTABLE):
        assert FsspecTree(str(raw)).glob("*/scene_0/a.hdf5") == ["01/scene_0/a.hdf5"]
