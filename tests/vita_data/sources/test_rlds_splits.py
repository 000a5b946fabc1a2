"""Every RLDS source takes its release's own splits where it has a validation split, and leaves the split open else.

Each has the settings that say which files of a release are read.
"""

import json
import shutil
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.files import ShardLengths
from vita_data.types import Episode, Failure, Part, Split

NAMES = ("bridge", "droid", "fmb", "fractal", "kuka", "recon")


@pytest.fixture(scope="module", params=NAMES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp(request.param)
    sources.load(request.param).write_toy(str(root))
    return request.param, root


@pytest.fixture
def toy(written: tuple[str, Path], tmp_path: Path) -> tuple[str, Path]:
    name, root = written
    return name, Path(shutil.copytree(root, tmp_path / "raw"))


def splits(name: str, root: Path) -> dict[str, set[Split | None]]:
    """The splits of the episodes of each file."""
    source, tree = sources.load(name), FsspecTree(str(root))
    settings = source.Settings()

    def of(part: Part) -> set[Split | None]:
        found = list(source.episodes(tree, part, settings))
        assert not any(isinstance(outcome, Failure) for outcome in found)
        return {outcome.split for outcome in found if isinstance(outcome, Episode)}

    return {part.id: of(part) for part in source.parts(tree, settings)}


def declare(root: Path, *names: str) -> list[str]:
    """Rewrite dataset_info.json so that each of the first two train files is a split of its own, called as given."""
    (path,) = root.glob("*/*/dataset_info.json")
    info = json.loads(path.read_text())
    train = next(split for split in info["splits"] if split["name"] == "train")
    files = sorted(file.name for file in path.parent.glob("*-train.tfrecord-*"))[: len(names)]
    info["splits"] = [
        {"name": name, "filepathTemplate": file, "shardLengths": [length]}
        for name, file, length in zip(names, files, train["shardLengths"], strict=False)
    ]
    path.write_text(json.dumps(info))
    return [f"{path.parent.relative_to(root)}/{file}" for file in files]


@pytest.mark.parametrize("held_out", ["val", "validation", "test"])
def test_a_release_with_a_validation_split_keeps_its_own(toy: tuple[str, Path], held_out: str) -> None:
    name, root = toy
    train, val = declare(root, "train", held_out)
    assert splits(name, root) == {train: {Split.TRAIN}, val: {Split.VAL}}


def test_a_release_of_train_alone_leaves_the_split_open(toy: tuple[str, Path]) -> None:
    name, root = toy
    (train,) = declare(root, "train")
    assert splits(name, root) == {train: {None}}


def test_files_of_another_total_are_refused_once_and_read_where_asked(toy: tuple[str, Path]) -> None:
    name, root = toy
    source, tree = sources.load(name), FsspecTree(str(root))
    for file in sorted(root.glob("*/*/*.tfrecord-*")):
        file.rename(file.with_name(f"{file.name[:-14]}{int(file.name[-14:-9]) + 5:05d}-of-00032"))
    with pytest.raises(RequestError, match=r"-of-00032\. Fetch the dataset_info.json .*shard_lengths=ignored"):
        source.parts(tree, source.Settings())
    asked = source.Settings(shard_lengths=ShardLengths.IGNORED, splits=("train",))
    found = [source.episodes(tree, part, asked) for part in source.parts(tree, asked)]

    assert all(not isinstance(outcome, Failure) for of_part in found for outcome in of_part)
    assert len(found) == 2
