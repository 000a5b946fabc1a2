"""Records that a build leaves beside its shards: one per unit, with a row per raw episode; a restart reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from vita_data.shards.index import RECORDS
from vita_data.shards.schema import json_bytes
from vita_data.shards.sums import parse_summed, with_sum
from vita_data.shards.writer import ShardSummary
from vita_data.storage.files import AnyPath, FileInfo, list_files, read_notes, write_atomically
from vita_data.types import EpisodeOutcome, Split

PLAN = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow:
    """One row of episodes.parquet."""

    id: str
    part: str
    outcome: EpisodeOutcome
    reason: str = ""
    detail: str = ""
    clip: str = ""
    shard: str = ""
    split: str = ""
    modality: str = ""
    embodiment: str = ""
    release: str = ""
    num_clips: int = 0
    num_steps: int = 0
    num_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """The record of a committed unit; if it exists, the unit's shards are complete."""

    number: int
    plan: str
    """Digest of the plan that it was built for."""
    episodes: tuple[EpisodeRow, ...]
    shards: tuple[tuple[Split, ShardSummary], ...]
    limit: int | None = None
    """The unit's limit if `--limit` ended inside it."""

    def count(self, outcome: EpisodeOutcome) -> int:
        """Count the raw episodes with an outcome."""
        return sum(row.outcome is outcome for row in self.episodes)


def record_path(folder: AnyPath, number: int) -> AnyPath:
    """Return the path of a unit's record."""
    return folder / RECORDS / f"unit-{number:06d}.json"


def write_record(folder: AnyPath, record: UnitRecord) -> None:
    """Commit a unit whose shards are already in place."""
    rows = [_flat(row) for row in record.episodes]
    shards = [[split, _flat(shard)] for split, shard in record.shards]
    limit = {} if record.limit is None else {"limit": record.limit}
    value = {"number": record.number, "plan": record.plan, "episodes": rows, "shards": shards, **limit}
    write_atomically(record_path(folder, record.number), json_bytes(with_sum(value)))


def _flat(row: EpisodeRow | ShardSummary) -> dict[str, str | int]:
    # `asdict` would deep-copy each value: too slow for one row per episode, and not needed.
    return {field.name: getattr(row, field.name) for field in fields(row)}


def read_records(folder: AnyPath, numbers: Sequence[int], *, plan: str) -> dict[int, UnitRecord | None]:
    """Read units' records by number; None if the unit has to be built.

    A unit has to be built if its record is missing, incomplete, damaged or of another plan, or if one of its shards is
    missing.
    """
    there = list_files(folder / RECORDS)
    known = [number for number in numbers if record_path(folder, number).name in there]
    shards = {split: list_files(folder / split) for split in Split} if known else {}
    found = zip(known, read_notes([record_path(folder, number) for number in known]), strict=True)
    records = {number: _parse_record(number, data) for number, data in found}
    whole = {
        number: record
        for number, record in records.items()
        if record and record.plan == plan and _has_shards(record, shards)
    }
    return {number: whole.get(number) for number in numbers}


def _parse_record(number: int, data: bytes) -> UnitRecord | None:
    try:
        value: Mapping[str, Any] = parse_summed(data)
        plan = str(value["plan"])
        rows = tuple(EpisodeRow(**{**row, "outcome": EpisodeOutcome(row["outcome"])}) for row in value["episodes"])
        shards = tuple((Split(split), ShardSummary(**summary)) for split, summary in value["shards"])
        limit = None if value.get("limit") is None else int(value["limit"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return UnitRecord(number=number, plan=plan, episodes=rows, shards=shards, limit=limit)


def _has_shards(record: UnitRecord, there: Mapping[Split, Mapping[str, FileInfo]]) -> bool:
    for split, shard in record.shards:
        found = there[split].get(shard.name)
        if found is None or found.num_bytes != shard.num_bytes:
            return False
        if shard.name.removesuffix(".tar") + ".arrow" not in there[split]:
            return False
    return True
