"""A card with a flipped byte or an unknown value is refused, and verify compares it with everything beside it."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from vita_data.builder import BuildRequest, build
from vita_data.builder.stored_plan import read_plan
from vita_data.cli.main import main
from vita_data.errors import RequestError, ShardError, VitaDataError
from vita_data.shards.index import card_bytes, read_card
from vita_data.shards.sums import SUM, parse_summed, with_sum
from vita_data.shards.verify import verify
from vita_data.shards.verify_files import file_sha256
from vita_data.sources import load

NUM_FLIPS = 600
Value = dict[str, Any]


@pytest.fixture
def bridge(toy_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_shards / "bridge", tmp_path / "bridge"))


def refusals_of_flips(path: Path, read: Callable[[], object], kind: type[VitaDataError]) -> list[str]:
    """Flip single bits, spread over all of a file; the errors, empty where the read values are still the same."""
    data, good, drawn, refusals = path.read_bytes(), read(), random.Random(0), []
    for at in range(0, len(data), max(len(data) // NUM_FLIPS, 1)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << drawn.randrange(8)]) + data[at + 1 :])
        refusals.append(refusal(read, good, kind))
    path.write_bytes(data)
    return refusals


def refusal(read: Callable[[], object], good: object, kind: type[VitaDataError]) -> str:
    try:
        found = read()
    except kind as error:
        return str(error)
    assert found == good
    return ""


def change(folder: Path, how: Callable[[Value], object]) -> None:
    """Change the card and give it the sum of its new values."""
    card = json.loads((folder / "dataset.json").read_bytes())
    how(card)
    (folder / "dataset.json").write_bytes(card_bytes(card))


def test_a_flipped_bit_of_a_card_is_refused_or_changes_no_value(bridge: Path) -> None:
    refusals = refusals_of_flips(bridge / "dataset.json", lambda: read_card(bridge), ShardError)

    assert len(refusals) >= NUM_FLIPS
    told = list(filter(None, refusals))
    assert all("remove it and run the same build again" in one for one in told)
    assert len(told) > 0.5 * len(refusals)  # the others are spaces
    assert verify(bridge).problems == ()


def test_a_flipped_bit_of_a_plan_is_refused_or_changes_no_value(bridge: Path) -> None:
    refusals = refusals_of_flips(bridge / ".build" / "plan.json", lambda: read_plan(bridge), RequestError)

    told = list(filter(None, refusals))
    assert all("plan.json: expected the plan of a build" in one for one in told)
    assert len(told) > 0.5 * len(refusals)


@pytest.mark.parametrize("file", ["dataset.json", ".build/plan.json"])
def test_a_damaged_file_is_removed_and_written_again_as_its_message_says(
    toy_raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    source = load("ssv2")
    asked = BuildRequest(source="ssv2", raw=str(toy_raw / "ssv2"), out=tmp_path, settings=source.Settings())
    build(asked)
    path = tmp_path / "ssv2" / file
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"ssv2"', b'"ssv3"', 1))

    with pytest.raises((ShardError, RequestError), match="remove it and run the same build again"):
        build(asked)
    path.unlink()
    build(asked)
    assert path.read_bytes() == good
    assert main(["verify", str(tmp_path / "ssv2"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


UNKNOWN: dict[str, Callable[[Value], object]] = {
    "settings": lambda card: card["settings"].update(resize="center_crap"),
    "no resize": lambda card: card["settings"].pop("resize"),
    "frames": lambda card: card.update(frames="keyframe"),
    "source": lambda card: card.pop("source"),
    "hz": lambda card: card.update(hz="5"),
    "hz 0": lambda card: card.update(hz=0),
    "stride": lambda card: card.update(stride=True),
    "limit": lambda card: card.update(limit=-1),
    "arms": lambda card: card.update(arms="right and lift"),
    "cameras": lambda card: card["cameras"].update(forehead="x"),
    "action_origin": lambda card: card.update(action_origin="guessed"),
    "redistributable": lambda card: card.update(redistributable="no"),
    "outcomes": lambda card: card["outcomes"].update(lost=1),
    "drops": lambda card: card["drops"].update(T99=1),
    "counts": lambda card: card["counts"].pop("val"),
    "a count": lambda card: card["counts"]["train"]["paired"].update(clips=1.5),
    "split": lambda card: card["shards"].update(test=[]),
    "shard": lambda card: card["shards"]["train"][0].update(name="../train/x.tar"),
    "sha256": lambda card: card["shards"]["train"][0].update(sha256="0"),
    "schema_version": lambda card: card.update(schema_version=2),
    "sums": lambda card: card.update(sums=None),
    "unknown": lambda card: card.update(colour="blue"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_value_of_a_card_is_an_error_and_never_a_default(bridge: Path, what: str) -> None:
    change(bridge, UNKNOWN[what])

    with pytest.raises(ShardError, match=r"dataset\.json: expected a card of this version, got .*; remove it and run"):
        read_card(bridge)


def test_a_card_of_an_earlier_version_is_read_and_gets_its_sum_by_stats(
    bridge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bridge / "dataset.json"
    good = path.read_bytes()
    path.write_text(json.dumps({key: value for key, value in json.loads(good).items() if key != SUM}))

    report = verify(bridge)
    assert report.problems == ()
    assert [note.partition(": ")[2].split(",")[0] for note in report.notes] == ["written by an earlier version"]
    assert main(["verify", str(bridge), "--quiet"]) == 0
    assert "vita-data verify: note: " in capsys.readouterr().err
    assert main(["stats", str(bridge), "--quiet"]) == 0
    assert path.read_bytes() == good
    assert verify(bridge).notes == ()


def change_episodes(folder: Path, how: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / "episodes.parquet"
    pq.write_table(how(pq.read_table(path)), path)
    change(folder, lambda card: card["sums"].update({path.name: file_sha256(path)}))


def set_first(column: str, value: object) -> Callable[[pa.Table], pa.Table]:
    """Change a value of the first stored episode."""

    def how(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        next(row for row in rows if row["outcome"] == "ok")[column] = value
        return pa.Table.from_pylist(rows, table.schema)

    return how


CONTRADICTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an index without a shard": (
        lambda folder: (folder / "train" / "bridge-train-000009.arrow").write_bytes(b"x"),
        r"bridge-train-000009\.arrow: not listed in the card.*remove it",
    ),
    "any other file": (
        lambda folder: (folder / "val" / "notes.txt").write_bytes(b"x"),
        r"val/notes\.txt: not listed in the card.*remove it",
    ),
    "a shard without an index": (
        lambda folder: min(folder.glob("train/*.arrow")).unlink(),
        r"\.arrow: listed in the card but missing",
    ),
    "counts": (
        lambda folder: change(folder, lambda card: card["counts"]["train"]["paired"].update(steps=7)),
        r"dataset\.json: has counts .* as in episodes\.parquet; run the same build again",
    ),
    "drops": (
        lambda folder: change(folder, lambda card: card.update(drops={})),
        r"dataset\.json: has drops \{\}, expected \{'T1'",
    ),
    "outcomes": (
        lambda folder: change(folder, lambda card: card["outcomes"].update(ok=99)),
        r"dataset\.json: has outcomes \{.*'ok': 99",
    ),
    "the bytes of a shard": (
        lambda folder: change(folder, lambda card: card["shards"]["train"][0].update(num_bytes=512)),
        r"\.tar: expected 512 bytes as in the card, found",
    ),
    "the clips of a shard": (
        lambda folder: change(folder, lambda card: card["shards"]["train"][0].update(num_clips=99)),
        r"\.arrow: expected 99 clips as in the card, found",
    ),
    "an episode that no index has": (
        lambda folder: change_episodes(folder, set_first("id", "nobody")),
        r"episode 'nobody' .* has 1 clips, .* but no row in the index",
    ),
    "an episode that the list lacks": (
        lambda folder: change_episodes(folder, lambda table: table.filter(pc.not_equal(table["outcome"], "ok"))),
        r"has no row, but 1 clips, .* in the index",
    ),
    "a clip that no index has": (
        lambda folder: change_episodes(folder, set_first("clip", "bridge-0")),
        r"has clip 'bridge-0', which is in no index",
    ),
    "steps of an episode": (
        lambda folder: change_episodes(folder, set_first("num_steps", 3)),
        r"1 clips, 3 steps and \d+ images, but 1 clips, ",
    ),
    "a column": (
        lambda folder: change_episodes(folder, lambda table: table.drop_columns(["num_frames"])),
        r"episodes\.parquet: has no column num_frames",
    ),
    "a sum": (
        lambda folder: change(folder, lambda card: card["sums"].pop("stats.json")),
        r"dataset\.json: has no sha256 of stats\.json",
    ),
    "a sum of another file": (
        lambda folder: change(folder, lambda card: card["sums"].update({"x": "0" * 64})),
        r"dataset\.json: has a sha256 of 'x'",
    ),
    "a record": (
        lambda folder: (folder / ".build" / "unit-000000.json").write_bytes(b"{}}"),
        r"unit-000000\.json: is damaged .*; run the same build again, which builds this unit anew",
    ),
    "the plan": (
        lambda folder: (folder / ".build" / "plan.json").write_bytes(b"["),
        r"plan\.json: is damaged .*; remove it and run the same build again, which builds all units anew",
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_verify_compares_card_indexes_tables_and_files_both_ways(bridge: Path, what: str) -> None:
    make, message = CONTRADICTIONS[what]
    make(bridge)

    problems = "\n".join(verify(bridge).problems)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems)


def test_a_sum_covers_every_value_and_may_be_missing() -> None:
    value = {"b": [1, None, "\ud800"], "a": {"x": 0.5}}
    data = json.dumps(with_sum(value)).encode()

    assert parse_summed(data) == with_sum(value)
    assert parse_summed(json.dumps(value).encode()) == value
    for damaged in (data.replace(b"0.5", b"0.6"), data.replace(b'"b"', b'"c"'), b"[]", b"{", b"\xff", b"[" * 10**6):
        with pytest.raises(ValueError, match=r".+"):
            parse_summed(damaged)
