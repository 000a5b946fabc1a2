"""Files that nobody reads are counted by pattern, within bounds, and files that are read never are."""

import os
import shutil
import time
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.builder.parts import list_parts, unread_files
from vita_data.cli.main import main
from vita_data.formats.raw_tree import unread
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.raw_tree.unread import Unread, find_unread
from vita_data.types import Part


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def unread_of(root: Path, *parts: str, asked: tuple[str, ...] = ()) -> Unread:
    listed = [Part(id=id_, num_bytes=1, num_episodes=1) for id_ in parts]
    return find_unread(FsspecTree(str(root)), listed, set(asked))


@pytest.mark.parametrize("name", sources.names())
def test_what_is_beside_the_data_is_told_for_every_source(name: str, toy_raw: Path, tmp_path: Path) -> None:
    """Beside every file of the toy a half-fetched and a saved copy are put; all else is as before."""
    source = sources.load(name)

    def found(root: Path) -> dict[str, int]:
        tree = FsspecTree(str(root))
        listed = list_parts(source, tree, source.Settings())
        told = unread_files(listed, tree)
        assert told.is_whole
        assert {part.id for part in listed.parts} == {part.id for part in source.parts(tree, source.Settings())}
        return dict(told.patterns)

    before = found(toy_raw / name)
    assert sum(before.values()) <= 2, "labels without a video, test labels"
    raw = Path(shutil.copytree(toy_raw / name, tmp_path / name))
    in_parts = {part.id.partition("#")[0] for part in source.parts(FsspecTree(str(raw)), source.Settings())}
    places = [path for path in raw.rglob("*") if path.is_file()]
    places = [path for path in places if not any(str(path.relative_to(raw)).startswith(f"{id_}/") for id_ in in_parts)]
    for path in places:
        path.with_name(f"{path.name}.bak").write_bytes(b"old")
        path.with_name(f"{path.name}.gstmp").write_bytes(b"half")
    after = found(raw)
    added = {pattern: count for pattern, count in after.items() if before.get(pattern) != count}
    assert sum(added.values()) == 2 * len(places)
    assert all(pattern.endswith((".bak", ".gstmp")) for pattern in added)


def test_patterns_name_versions_companions_and_half_fetched_copies(tmp_path: Path) -> None:
    release = "bridge_dataset/1.0.0/bridge_dataset-train.tfrecord-0000{}-of-00002"
    touch(tmp_path, *(release.format(n) for n in (0, 1)), "bridge_dataset/1.0.0/dataset_info.json", "README.md")
    touch(tmp_path, *(release.format(n).replace("1.0.0", "0.0.1") for n in (0, 1)))
    touch(tmp_path, release.format(0) + "_.gstmp", release.format(1) + "_.gstmp", "bridge_dataset/._1.0.0")
    told = unread_of(tmp_path, release.format(0), release.format(1), asked=("bridge_dataset/1.0.0/dataset_info.json",))
    assert dict(told.patterns) == {
        "bridge_dataset/0.0.1/*.tfrecord-*": 2,
        "bridge_dataset/1.0.0/*.gstmp": 2,
        "bridge_dataset/._1.0.0": 1,
        "README.md": 1,
    }
    assert told.line() == (
        "not read: 6 files: 2 bridge_dataset/0.0.1/*.tfrecord-*, 2 bridge_dataset/1.0.0/*.gstmp, 1 README.md, "
        "1 bridge_dataset/._1.0.0"
    )
    assert unread_of(tmp_path / "bridge_dataset/0.0.1", *os.listdir(tmp_path / "bridge_dataset/0.0.1")).line() == ""


def test_many_folders_side_by_side_become_a_star_and_many_patterns_a_number(tmp_path: Path) -> None:
    episodes = [f"b/h5_ur/{task}/failure_episodes/{day}/data/trajectory.hdf5" for task in "pqrst" for day in "12345"]
    touch(
        tmp_path,
        *episodes,
        *(f"x.{suffix}" for suffix in "abcdefghijkl"),
        *(f"y.{suffix}" for suffix in "abcdefghijkl"),
    )
    told = unread_of(tmp_path, episodes[0])
    assert told.patterns[0] == ("b/h5_ur/*/failure_episodes/*/data/*.hdf5", 24)
    assert told.num_files == 48
    assert told.line().endswith(", 10 more files in 5 patterns")


def test_the_insides_of_a_clone_are_not_told_and_odd_names_can_be_printed(tmp_path: Path) -> None:
    touch(tmp_path, ".git/annex/objects/Xk/MD5E-s1--0a.hdf5", ".git/config", ".gitattributes", "a\nb\x1b[31m", "a.hdf5")
    touch(tmp_path, os.fsdecode(b"caf\xe9.txt"))
    found = unread_of(tmp_path, "a.hdf5")
    assert found.num_files == 3
    assert ".gitattributes" in dict(found.patterns)
    assert found.line().isprintable()
    found.line().encode()


def test_a_folder_that_is_a_part_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "training/1.npz", "training/deep/2.npz", "frames/7/img_1.jpg", "validation/3.npz")
    listed: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        listed.append(str(path).removeprefix(str(tmp_path)))
        return scandir(path)

    monkeypatch.setattr("os.scandir", noted)
    told = unread_of(tmp_path, "training#0-2047", "training#2048-4000", "frames/7")
    assert dict(told.patterns) == {"validation/3.npz": 1}
    assert sorted(path.strip("/") for path in listed) == ["", "frames", "validation"]


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    touch(raw, "a/one.bin")
    touch(elsewhere, "two.bin", "deep/three.bin")
    (raw / "linked").symlink_to(elsewhere)
    (raw / "again").symlink_to(elsewhere)
    (raw / "a" / "up").symlink_to(raw)
    (raw / "same").symlink_to(raw / "a")
    (elsewhere / "deep" / "round").symlink_to(elsewhere)
    (raw / "gone").symlink_to(tmp_path / "nowhere")
    told = unread_of(raw, "linked/two.bin", "again/two.bin")
    assert told.is_whole
    assert sum(pattern.endswith("three.bin") for pattern, _ in told.patterns) == 1
    assert {"a/one.bin", "gone"} <= dict(told.patterns).keys()
    assert told.num_files == 3


def test_the_search_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{folder}/{number}.bin" for folder in "abc" for number in range(5)))
    monkeypatch.setattr(unread, "_MAX_FILES", 6)
    told = unread_of(tmp_path)
    assert (told.num_files, told.is_whole) == (5, False)
    assert told.line() == "not read: at least 5 files: 5 a/*.bin"
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(unread, "_MAX_S", -1.0)
    assert unread_of(tmp_path).line() == "not read: none found so far; the search for other files was stopped early"


def test_build_and_probe_tell_what_is_not_read(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    raw = Path(shutil.copytree(toy_raw / "bridge", tmp_path / "raw"))
    file = next(raw.rglob("*.tfrecord-00001-of-00002"))
    shutil.copy(file, file.with_name(f"{file.name}_.gstmp"))
    told = f"  not read: 1 file: 1 {file.relative_to(raw)}_.gstmp"
    asked = ["--source", "bridge", "--raw", str(raw)]
    for state in ("built", "already done"):
        assert main(["build", *asked, "--out", str(tmp_path), "--workers", "1"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{tmp_path}/bridge: {state}\n")
        assert told in out.splitlines()
    main(["build", *asked, "--out", str(tmp_path), "--json"])
    assert f'"{file.relative_to(raw)}_.gstmp": 1' in capsys.readouterr().out
    main(["probe", *asked, "--limit", "1"])
    assert told in capsys.readouterr().out.splitlines()
    main(["probe", *asked, "--limit", "1", "--json"])
    assert f'"{file.relative_to(raw)}_.gstmp": 1' in capsys.readouterr().out
