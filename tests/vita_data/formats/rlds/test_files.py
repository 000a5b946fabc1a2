"""Which tfrecord files a release has: TFDS's names for them, files of another total, and splits of any name."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import RequestError, SourceError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import list_parts, open_dataset, read_outcomes
from vita_data.formats.rlds.features import FeatureSpec
from vita_data.formats.rlds.files import RldsSettings, ShardLengths, ShardNames
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.tfrecord import masked_crc32c
from vita_data.formats.rlds.write import write_rlds
from vita_data.types import Drop, Failure, Outcome, Part, Reason, Split

RELEASE = "robot/1.2.0"
IGNORED = RldsSettings(shard_lengths=ShardLengths.IGNORED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A release of two train files of 2 and 1 records, and a validation file of 1."""
    records = [{"goal": np.array([float(number), 0.0])} for number in range(4)]
    write_rlds(
        str(tmp_path),
        release=RELEASE,
        features={"goal": FeatureSpec(shape=(2,))},
        splits={"train": [records[:2], records[2:3]], "val": [records[3:]]},
    )
    return tmp_path


def rewrite(root: Path, **changes: Mapping[str, object] | None) -> None:
    """Change the entries of splits in dataset_info.json; None removes one."""
    path = root / RELEASE / "dataset_info.json"
    info = json.loads(path.read_text())
    kept = [split for split in info["splits"] if changes.get(split["name"], {}) is not None]
    info["splits"] = [{**split, **(changes.get(split["name"]) or {})} for split in kept]
    path.write_text(json.dumps(info))


def renumber(root: Path, template: str, numbers: tuple[int, ...] = (0, 1)) -> list[str]:
    """Give the train files other names; `template` has a number's place and maybe a total."""
    files = sorted((root / RELEASE).glob("robot-train*"))
    for file, number in zip(files, numbers, strict=True):
        file.rename(file.with_name(template.format(number)))
    return [template.format(number) for number in numbers]


def parts(root: Path, settings: RldsSettings | None = None) -> list[Part]:
    tree = FsspecTree(str(root))
    return list_parts(tree, open_dataset(tree, RELEASE, settings or RldsSettings()))


def read(root: Path, settings: RldsSettings | None = None) -> list[tuple[float, Split | None]]:
    """The goal and the split of each record, -1 for one that failed."""
    tree = FsspecTree(str(root))
    dataset = open_dataset(tree, RELEASE, settings or RldsSettings())
    found: list[tuple[float, Split | None]] = []

    def convert(record: RldsRecord) -> Outcome:
        found.append((float(record.floats("goal")[0]), dataset.split_of(record)))
        return Drop(episode=record.id, reason=Reason.SHORT)

    for part in list_parts(tree, dataset):
        for outcome in read_outcomes(tree, dataset, part, convert):
            found += [(-1.0, None)] if isinstance(outcome, Failure) else []
    return found


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("total", [1, 32, 123_456])
@pytest.mark.parametrize(
    "template",
    [
        "",
        "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        "{SPLIT}/data.{FILEFORMAT}-{SHARD_INDEX}-{NUM_SHARDS}",
        "one[a]+file.{FILEFORMAT}",
    ],
)
def test_files_have_the_names_that_tfds_gives_them(template: str, total: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_datasets.core.naming import ShardedFileTemplate
    theirs = ShardedFileTemplate(
        data_dir="a/1.0.0", template=template, dataset_name="a", split="train", filetype_suffix="tfrecord"
    )
    ours = ShardNames.of(template, folder="a/1.0.0", dataset="a", split="train")
    for index in (0, total - 1):
        path = ours.path(index, total=total)
        assert path == str(theirs.sharded_filepath(shard_index=index, num_shards=total))
        is_told = "SHARD_X_OF_Y" in theirs.template or "NUM_SHARDS" in theirs.template
        assert ours.total(path) == (f"{total:05d}" if is_told else "")
        assert ours.total(f"{path}.gstmp") is ours.total("a/1.0.0/other") is None


@pytest.mark.parametrize("numbers", [(0, 1), (3, 17)])
def test_the_variables_of_a_template_are_filled_and_files_are_found_by_it(root: Path, numbers: tuple[int, int]) -> None:
    rewrite(root, train={"filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"})
    renumber(root, "robot-train.tfrecord-{:05d}", numbers)

    assert read(root, IGNORED)[:3] == [(0, Split.TRAIN), (1, Split.TRAIN), (2, Split.TRAIN)]
    if numbers == (0, 1):
        assert read(root) == read(root, IGNORED)


def test_a_variable_that_occurs_twice_is_refused(root: Path) -> None:
    """A name of many digits was compared with such a template without end."""
    rewrite(root, train={"filepathTemplate": "{NUM_SHARDS}" * 40 + "x"})
    with pytest.raises(SourceError, match=r"split train: the filepathTemplate .* has a variable twice"):
        read(root)


def test_an_unknown_variable_and_one_file_for_several_counts_are_refused(root: Path) -> None:
    rewrite(root, train={"filepathTemplate": "{DATASET}-{COUNTRY}"})
    with pytest.raises(SourceError, match=r"dataset_info.json .* split train: .*unknown variable \{COUNTRY\}"):
        parts(root)
    rewrite(root, train={"filepathTemplate": "all.tfrecord"})
    with pytest.raises(SourceError, match=r"2 shardLengths for the single file robot/1.2.0/all.tfrecord"):
        parts(root)


# --------------------------------------------------------------------------------------------- files of another total


def test_files_of_another_total_are_refused_once_and_read_where_asked(root: Path) -> None:
    """A parallel builder lists 2 lengths for the files that are not empty, of 32 (rlds_dataset_builder, issue 15)."""
    renumber(root, "robot-train.tfrecord-{:05d}-of-00032", (3, 17))
    with pytest.raises(RequestError) as refused:
        parts(root)

    assert "expected 2 files, the first robot/1.2.0/robot-train.tfrecord-00000-of-00002" in str(refused.value)
    assert "robot-train.tfrecord-00003-of-00032" in str(refused.value)
    assert "--set shard_lengths=ignored" in str(refused.value)
    assert read(root, IGNORED) == [(0, Split.TRAIN), (1, Split.TRAIN), (2, Split.TRAIN), (3, Split.VAL)]
    assert [part.num_episodes for part in parts(root, IGNORED)] == [None] * 3


def test_a_download_that_lacks_some_files_is_no_other_numbering(root: Path) -> None:
    (root / RELEASE / "robot-train.tfrecord-00001-of-00002").unlink()

    assert [(part.num_bytes > 0, part.num_episodes) for part in parts(root)] == [(True, 2), (False, 1), (True, 1)]
    assert [goal for goal, _ in read(root)] == [0, 1, -1, 3]


def test_unlisted_files_of_two_totals_are_refused(root: Path) -> None:
    rewrite(root, train={"shardLengths": None})
    file = root / RELEASE / "robot-train.tfrecord-00001-of-00002"
    file.rename(file.with_name("robot-train.tfrecord-00004-of-00007"))
    with pytest.raises(
        RequestError, match=r"different totals \(00002, 00007\), such as .*-00000-of-00002 and .*-00007, "
    ):
        parts(root)


def test_a_release_without_any_of_its_files_is_refused_once(root: Path) -> None:
    for file in (root / RELEASE).glob("robot-*"):
        file.rename(file.with_name(file.name.replace("robot-", "machine-")))
    with pytest.raises(RequestError, match=r"expected robot/1.2.0/robot-train.*; found .*machine-train.tfrecord-00000"):
        parts(root)


def test_an_empty_shard_that_was_never_written_is_no_loss(root: Path) -> None:
    renumber(root, "robot-train.tfrecord-{:05d}-of-00003")
    rewrite(root, train={"shardLengths": ["2", "1", "0"]})

    assert [goal for goal, _ in read(root)] == [0, 1, 2, 3]


def test_a_count_that_no_file_can_have_is_damage_and_not_as_many_failures(root: Path) -> None:
    rewrite(root, train={"shardLengths": ["2", "99999999999999999999"]})
    with pytest.raises(SourceError, match="expected a list of counts as shardLengths"):
        parts(root)


# ---------------------------------------------------------------------------------------------------------- splits


def test_a_single_split_of_an_unknown_name_is_the_whole_and_is_hashed(root: Path) -> None:
    rewrite(root, train={"name": "all", "filepathTemplate": "robot-train.tfrecord-{SHARD_X_OF_Y}"}, val=None)

    assert read(root) == [(0, None), (1, None), (2, None)]


def test_an_unknown_split_beside_others_must_be_chosen(root: Path) -> None:
    rewrite(root, val={"name": "train_eval", "filepathTemplate": "robot-val.tfrecord-{SHARD_X_OF_Y}"})
    with pytest.raises(
        RequestError, match=r"splits train, train_eval, and train_eval may repeat.*for example --set splits=train$"
    ):
        parts(root)

    assert read(root, RldsSettings(splits=("train",))) == [(0, None), (1, None), (2, None)]
    assert len(read(root, RldsSettings(splits=("train", "train_eval")))) == 4
    with pytest.raises(RequestError, match=r"--set splits=tset: tset not found in .*; it has train, train_eval"):
        parts(root, RldsSettings(splits=("tset",)))


def test_one_of_two_known_splits_can_be_chosen(root: Path) -> None:
    assert read(root, RldsSettings(splits=("val",))) == [(3, Split.VAL)]


# ------------------------------------------------------------------------------------------------------ damaged records


def test_a_record_with_a_flipped_bit_loses_itself_only(root: Path) -> None:
    path = root / RELEASE / "robot-train.tfrecord-00000-of-00002"
    data = bytearray(path.read_bytes())
    data[12] ^= 1
    path.write_bytes(data)

    assert read(root) == [(-1, None), (1, Split.TRAIN), (2, Split.TRAIN), (3, Split.VAL)]


def test_an_absurd_length_whose_sum_is_right_asks_for_no_memory(root: Path) -> None:
    length = (1 << 63).to_bytes(8, "little")
    (root / RELEASE / "robot-train.tfrecord-00000-of-00002").write_bytes(
        length + masked_crc32c(length).to_bytes(4, "little") + b"abc"
    )

    assert [goal for goal, _ in read(root)] == [-1, -1, 2, 3]
