"""A unit's record is believed only as it was written; those of earlier versions carry no sum and are read too."""

import json
from pathlib import Path

import pytest

from vita_data.builder.records import EpisodeRow, UnitRecord, read_records, record_path, write_record
from vita_data.shards.writer import ShardSummary
from vita_data.types import EpisodeOutcome, Split

RECORD = UnitRecord(
    number=2,
    plan="f" * 64,
    episodes=(
        EpisodeRow(id="a/0", part="a", outcome=EpisodeOutcome.OK, split="train", num_clips=1, num_steps=14),
        EpisodeRow(id="a/1", part="a", outcome=EpisodeOutcome.DROPPED, reason="T1", detail="é \ud800"),
    ),
    shards=((Split.TRAIN, ShardSummary(name="x-000002.tar", num_clips=1, num_bytes=3, sha256="1", index_sha256="2")),),
    limit=7,
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / ".build").mkdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "x-000002.tar").write_bytes(b"abc")
    (tmp_path / "train" / "x-000002.arrow").touch()
    write_record(tmp_path, RECORD)
    path = record_path(tmp_path, 2)
    assert isinstance(path, Path)
    return path


def found(path: Path) -> UnitRecord | None:
    return read_records(path.parents[1], [2], plan=RECORD.plan)[2]


def test_a_record_comes_back(record: Path) -> None:
    assert found(record) == RECORD


def test_no_flipped_bit_changes_what_is_believed(record: Path) -> None:
    data = record.read_bytes()
    believed = 0
    for at in range(len(data)):
        for bit in range(8):
            record.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            one = found(record)
            assert one in (None, RECORD), (at, bit)
            believed += one is not None
    assert believed < len(data)  # the name of the sum itself, and the like


def test_a_record_of_an_earlier_version_is_read(record: Path) -> None:
    value = json.loads(record.read_text())
    del value["sha256"]
    record.write_text(json.dumps(value))
    assert found(record) == RECORD


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"sha256": 5}'])
def test_another_value_is_no_record(record: Path, text: str) -> None:
    record.write_text(text)
    assert found(record) is None
