"""Reports the progress of a build from what it has committed, even while it runs, on this machine or another."""

import time
from dataclasses import dataclass

from vita_data.builder.records import UnitRecord, read_records, record_path
from vita_data.builder.stored_plan import read_plan
from vita_data.builder.under_way import read_under_way
from vita_data.errors import RequestError
from vita_data.nearby import meant
from vita_data.shards.index import CARD, RECORDS
from vita_data.storage.files import AnyPath, list_files
from vita_data.types import EpisodeOutcome, Json

_RECENT_UNITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStatus:
    """The progress of a build."""

    source: str
    num_units: int
    num_done: int
    outcomes: Json
    drops: Json
    num_frames: int
    num_bytes: int
    """Bytes of the committed shards."""
    episodes_per_s: float | None
    """Over the most recently committed units; None if there are fewer than two."""
    left_s: float | None
    """Time left at the pace of the last units; None if unknown."""
    finished: bool
    num_units_under_way: int
    """Units being built now, or when the build was killed; reported only on local disks."""
    num_episodes_under_way: int
    """Raw episodes read in these units so far."""
    num_episodes_expected: int | None
    """Raw episodes that these units have; None if not known before reading."""
    limit: int | None
    """The `--limit` of the build in raw episodes; None: all."""
    reported_s: float | None
    """Seconds since these units last reported."""


def status(folder: AnyPath) -> BuildStatus:
    """Report the progress of a build.

    Assumes: the pace is that of the last 50 committed units, by the time stamps of their records; for a build that was
        stopped in between, it is too low.

    Raises:
        RequestError: the folder contains no build.
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
    """Return units and episodes per second between the first and the last of the most recent records."""
    there = list_files(folder / RECORDS)
    names = {record.number: record_path(folder, record.number).name for record in records}
    # A retry of failed units may have removed a record after it was read.
    timed = sorted((there[name].mtime_s, number) for number, name in names.items() if name in there)
    recent = timed[-_RECENT_UNITS:]
    span_s = recent[-1][0] - recent[0][0] if recent else 0.0
    if span_s <= 0:
        return None, None
    sizes = {record.number: len(record.episodes) for record in records}
    return (len(recent) - 1) / span_s, sum(sizes[number] for _, number in recent[1:]) / span_s
