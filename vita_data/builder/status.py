"""How far a build is, from what it has committed: also while it runs, on this machine or another."""

import time
from dataclasses import dataclass

from vita_data.builder.records import EpisodeOutcome, UnitRecord, read_records, record_path
from vita_data.builder.stored_plan import read_plan
from vita_data.builder.under_way import read_under_way
from vita_data.errors import RequestError
from vita_data.nearby import meant
from vita_data.shards.index import CARD, RECORDS
from vita_data.storage.files import AnyPath, list_files
from vita_data.types import Json

_RECENT_UNITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStatus:
    """How far a build is."""

    source: str
    num_units: int
    num_done: int
    outcomes: Json
    drops: Json
    num_frames: int
    num_bytes: int
    """Bytes of the committed shards."""
    episodes_per_s: float | None
    """Over the last units that were committed; None where fewer than two were."""
    left_s: float | None
    """Time left at the pace of the last units; None where that is not known."""
    finished: bool
    num_units_under_way: int
    """Units that are being built, or were when a build was killed; reported on disks only."""
    num_episodes_under_way: int
    """Raw episodes that were read in them so far."""
    num_episodes_expected: int | None
    """Raw episodes that they have; None where only reading tells."""
    limit: int | None
    """The first raw episodes to which `--limit` keeps the build; None: all."""
    reported_s: float | None
    """Seconds since the last report from them."""


def status(folder: AnyPath) -> BuildStatus:
    """Tell how far a build is.

    Assumes: the pace is that of the last 50 committed units, by the time stamps of their records; a build that stood
        still in between shows too low a pace.

    Raises:
        RequestError: there is no build in the folder.
    """
    plan = read_plan(folder)
    if plan is None:
        hint = meant(folder, lambda one: read_plan(one) is not None)
        raise RequestError(f"{folder}: no build was started in this folder{hint}")
    num_units = len(plan.grouping) if plan.num_units is None else plan.num_units
    found = read_records(folder, range(num_units), plan=plan.digest)
    records = [record for record in found.values() if record]
    rows = [row for record in records for row in record.episodes]
    reasons = sorted({row.reason for row in rows if row.reason})
    units_per_s, episodes_per_s = _pace(folder, records)
    under_way, reported_s = read_under_way(folder, [number for number, record in found.items() if not record])
    expected = [unit.num_expected for unit in under_way if unit.num_expected is not None]
    return BuildStatus(
        source=str(plan.fingerprint["source"]),
        num_units=num_units,
        num_done=len(records),
        outcomes={outcome: sum(record.count(outcome) for record in records) for outcome in EpisodeOutcome},
        drops={reason: sum(row.reason == reason for row in rows) for reason in reasons},
        num_frames=sum(row.num_frames for row in rows),
        num_bytes=sum(shard.num_bytes for record in records for _, shard in record.shards),
        episodes_per_s=episodes_per_s,
        left_s=None if units_per_s is None else (num_units - len(records)) / units_per_s,
        finished=len(records) == num_units and CARD in list_files(folder),
        num_units_under_way=len(under_way),
        num_episodes_under_way=sum(unit.num_episodes for unit in under_way),
        num_episodes_expected=sum(expected) if len(expected) == len(under_way) else None,
        limit=plan.limit,
        reported_s=None if reported_s is None else max(time.time() - reported_s, 0.0),
    )


def _pace(folder: AnyPath, records: list[UnitRecord]) -> tuple[float | None, float | None]:
    """Units and episodes a second between the first and the last of the most recent records."""
    there = list_files(folder / RECORDS)
    names = {record.number: record_path(folder, record.number).name for record in records}
    # A retry of failed units may have removed a record since it was read.
    timed = sorted((there[name].mtime_s, number) for number, name in names.items() if name in there)
    recent = timed[-_RECENT_UNITS:]
    span_s = recent[-1][0] - recent[0][0] if recent else 0.0
    if span_s <= 0:
        return None, None
    sizes = {record.number: len(record.episodes) for record in records}
    return (len(recent) - 1) / span_s, sum(sizes[number] for _, number in recent[1:]) / span_s
