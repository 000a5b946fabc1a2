"""ArrayRecord files have the records that TFDS's data sources read; damage costs no more than it must."""

import builtins
import errno
import os
import re
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from tests.vita_data.formats.rlds.forged import chunks_of, forge_index
from tests.vita_data.formats.rlds.test_dataset import FEATURES, RELEASE, make_record, read, tfds
from vita_data.errors import EpisodeError, RequestError, SourceError, StorageError
from vita_data.formats.limits import MAX_SHARD_RECORDS
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.array_record import stream_array_records, write_array_records
from vita_data.formats.rlds.dataset import list_parts, open_dataset, read_outcomes, read_shard
from vita_data.formats.rlds.files import FileFormat, RldsSettings, ShardLengths
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import write_rlds
from vita_data.types import Drop, Failure, Outcome, Reason

__all__ = ["tfds"]
SPLITS = {"train": [[make_record(5, 1), make_record(3, 2)], [make_record(4, 3)]], "test": [[make_record(2, 4)]]}
DATA = [bytes([number]) * 3 + os.urandom(20_000) for number in range(6)]


def tree_of(root: Path, file_format: FileFormat = FileFormat.ARRAY_RECORD) -> FsspecTree:
    write_rlds(str(root), release=RELEASE, features=FEATURES, splits=SPLITS, file_format=file_format)
    return FsspecTree(str(root))


@pytest.fixture
def tree(tmp_path: Path) -> FsspecTree:
    return tree_of(tmp_path / "array_record")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_array_records(tmp_path / "f", DATA)
    return tmp_path / "f"


def records(path: Path) -> list[bytes | EpisodeError]:
    return list(stream_array_records(lambda: str(path), name="robot-x"))


def convert(record: RldsRecord) -> Outcome:
    return Drop(episode=record.id, reason=Reason.SHORT, detail=f"{record.floats('goal').tolist()}")


def outcomes(tree: FsspecTree, part: int = 1) -> list[Outcome]:
    dataset = open_dataset(tree, RELEASE)
    return list(read_outcomes(tree, dataset, list_parts(tree, dataset)[part], convert))


def test_the_records_are_those_of_tfrecord_files(tmp_path: Path, tree: FsspecTree) -> None:
    other = tree_of(tmp_path / "tfrecord", FileFormat.TFRECORD)
    ours, theirs = open_dataset(tree, RELEASE), open_dataset(other, RELEASE)

    assert [part.id for part in list_parts(tree, ours)] == [
        part.id.replace(".tfrecord-", ".array_record-") for part in list_parts(other, theirs)
    ]
    assert [part.num_episodes for part in list_parts(tree, ours)] == [1, 2, 1]
    for mine, its in zip(ours.shards, theirs.shards, strict=True):
        pairs = zip(read_shard(tree, ours, mine.path), read_shard(other, theirs, its.path), strict=True)
        for one, another in pairs:
            assert (one.file, one.index, one.split) == (mine.path, another.index, another.split)
            for path, spec in FEATURES.items():
                np.testing.assert_array_equal(read(one, path, spec), read(another, path, spec))
            assert one._data == another._data


def test_tfds_data_sources_give_the_same_records_in_the_same_order(tree: FsspecTree, tfds: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = tfds.builder_from_directory(tree.local_path(RELEASE))
        sources = {
            name: builder.as_data_source(name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
            for name in SPLITS
        }
    assert "tensorflow" not in sys.modules
    dataset = open_dataset(tree, RELEASE)
    for name, source in sources.items():
        paths = [shard.path for shard in dataset.shards if f"-{name}." in shard.path]
        ours = [record._data for path in paths for record in read_shard(tree, dataset, path)]
        assert ours == [source[place] for place in range(len(source))]


def test_all_existing_files_are_read_where_none_are_listed(tree: FsspecTree) -> None:
    dataset = open_dataset(tree, RELEASE, RldsSettings(shard_lengths=ShardLengths.IGNORED))
    assert [part.id for part in list_parts(tree, dataset)] == sorted(shard.path for shard in dataset.shards)
    assert len(dataset.shards) == 3


@pytest.mark.parametrize("size", [1, 4])
def test_chunks_of_several_records_are_read_too(tmp_path: Path, size: int) -> None:
    writer = ArrayRecordWriter(str(tmp_path / "f"), f"group_size:{size}")
    for data in DATA:
        writer.write(data)
    writer.close()
    assert records(tmp_path / "f") == DATA


def test_a_flipped_bit_costs_its_record_alone(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(DATA[2]) + 10_000] ^= 4
    file.write_bytes(data)
    found = records(file)

    assert [one for one in found if isinstance(one, bytes)] == DATA[:2] + DATA[3:]
    assert str(found[2]) == "robot-x record 2: the data is damaged; fetch the file again"


def test_the_last_record_may_be_the_damaged_one(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(DATA[-1]) + 10_000] ^= 4
    file.write_bytes(data)
    found = records(file)
    assert found[:-1] == DATA[:-1]
    assert isinstance(found[-1], EpisodeError)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[: len(data) // 2], r"not a complete ArrayRecord file\); fetch the file again"),
        (lambda data: data[:-10], r"not a complete ArrayRecord file\); fetch the file again"),
        (lambda data: b"", r"empty \(0 bytes\)\); fetch"),
        (lambda data: bytes(len(data)), "never written"),
        (lambda data: b"\x1f\x8b\x08" + data, "compressed with gzip.*gunzip"),
        (lambda data: b"<html>not found</html>", "fetch"),
        (lambda data: os.urandom(len(data)), "fetch the file again"),
    ],
)
def test_a_file_that_is_incomplete_or_another_is_named(file: Path, change: Any, told: str) -> None:
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(SourceError, match=f"robot-x: cannot be read .*{told}"):
        records(file)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file whose index can be forged."""
    write_array_records(tmp_path / "small", [data[:500] for data in DATA])
    return tmp_path / "small"


def test_a_forged_index_that_tells_the_truth_is_read(small: Path) -> None:
    forge_index(small, chunks_of(small), num_chunks=6, num_records=6)
    assert records(small) == [data[:500] for data in DATA]


@pytest.mark.parametrize("place", [5, 1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_record_that_is_not_where_the_index_says_fails(small: Path, place: int) -> None:
    """The one before it may fail too: it is read up to where the next one begins."""
    entries = chunks_of(small)
    entries[2] = (place, *entries[2][1:])
    forge_index(small, entries, num_chunks=6, num_records=6)
    found = records(small)
    assert len(found) == 6
    assert isinstance(found[2], EpisodeError)
    assert re.match(
        r"robot-x record 2: the (data is damaged|file asks for more memory than there is); fetch", str(found[2])
    )
    assert [found[number] for number in (0, 3, 4, 5)] == [DATA[number][:500] for number in (0, 3, 4, 5)]
    assert found[1] == DATA[1][:500] or isinstance(found[1], EpisodeError)


def test_an_index_that_lists_more_records_than_files_have_is_refused(small: Path) -> None:
    for count in (MAX_SHARD_RECORDS, 1 << 40, (1 << 62) // 6):
        forge_index(small, [(at, size, count) for at, size, _ in chunks_of(small)], num_chunks=6, num_records=6 * count)
        with pytest.raises(SourceError, match=r"robot-x: its index lists .* records, more than 10,000,000; fetch"):
            records(small)


def test_records_that_are_not_there_end_at_a_limit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.formats.rlds.array_record.MAX_LOST_RECORDS", 50)
    forge_index(small, [(at, size, 100) for at, size, _ in chunks_of(small)], num_chunks=6, num_records=600)
    with pytest.raises(SourceError, match="robot-x: more than 50 records are damaged; fetch the file again"):
        records(small)


@pytest.mark.parametrize("span", [slice(0, 64), slice(60, 110), slice(600, 2000), slice(65536, None)])
def test_zeros_cost_what_they_cover(small: Path, span: slice) -> None:
    """A file system that lost blocks; those of the end hold the place of the index."""
    data = bytearray(small.read_bytes())
    data[span] = bytes(len(data[span]))
    small.write_bytes(data)
    if span.start == 65536:
        with pytest.raises(SourceError, match=r"robot-x: cannot be read .*not a complete ArrayRecord file"):
            records(small)
        return
    found = records(small)
    assert len(found) == 6
    good = [one for one in found if isinstance(one, bytes)]
    assert good == [data[:500] for number, data in enumerate(DATA) if isinstance(found[number], bytes)]
    assert len(good) >= {0: 5, 60: 5, 600: 2}[span.start]


def test_an_index_without_records_fails_those_that_are_listed(tree: FsspecTree) -> None:
    path = Path(tree.root) / list_parts(tree, open_dataset(tree, RELEASE))[1].id
    write_array_records(path, [])
    assert [one.episode[-6:] for one in outcomes(tree) if isinstance(one, Failure)] == ["#00000", "#00001"]


def test_records_of_a_missing_or_truncated_file_fail_one_by_one(tree: FsspecTree) -> None:
    path = Path(tree.root) / list_parts(tree, open_dataset(tree, RELEASE))[1].id
    path.write_bytes(path.read_bytes()[:-1])
    for told in ("not a complete ArrayRecord file", "with --set shard_lengths=ignored"):
        found = outcomes(tree)
        assert [one.episode[-6:] for one in found if isinstance(one, Failure)] == ["#00000", "#00001"]
        assert all(told in one.detail for one in found if isinstance(one, Failure))
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-10], lambda data: data.replace(DATA[2], DATA[3])], ids=["truncated", "damaged"]
)
def test_a_fault_of_the_disk_is_not_called_damage(file: Path, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(change(file.read_bytes()))
    monkeypatch.setattr(builtins, "open", partial(failing, builtins.open, file))
    with pytest.raises(StorageError, match=r"robot-x: .*Input/output error"):
        records(file)


def failing(true_open: Any, file: Path, path: Any, *arguments: Any, **options: Any) -> Any:
    if str(path) == str(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
    return true_open(path, *arguments, **options)


def test_without_the_package_the_extra_is_named(tree: FsspecTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(RequestError, match=r"its files are ArrayRecord, which needs array_record .*\[arrayrecord\]"):
        open_dataset(tree, RELEASE)


def test_a_record_or_number_of_records_beyond_any_dataset_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "vita_data.formats.rlds.array_record"
    write_array_records(file, [b"small", bytes(100), b"small"])
    monkeypatch.setattr(f"{module}.MAX_RECORD_BYTES", 10)
    first, large, last = records(file)
    assert (first, last) == (b"small", b"small")
    assert str(large) == "robot-x record 1: has 100 bytes, expected at most 10; fetch the file again"
    monkeypatch.setattr(f"{module}.MAX_SHARD_RECORDS", 2)
    with pytest.raises(SourceError, match="robot-x: its index lists 3 records, more than 2"):
        records(file)
