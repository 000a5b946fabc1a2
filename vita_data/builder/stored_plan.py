"""The plan that a build stores beside its records, and how a later run resumes from both."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vita_data.builder.differences import refuse_difference
from vita_data.builder.finish import failed_rows
from vita_data.builder.plan import (
    BuildRequest,
    Grouping,
    Share,
    Unit,
    cut_units,
    fingerprint,
    group_parts,
    plan_digest,
)
from vita_data.builder.records import PLAN, UnitRecord, read_records, record_path
from vita_data.config.settings import settings_json
from vita_data.errors import BRING_BACK, RequestError, StorageError
from vita_data.shards.episodes import EPISODES
from vita_data.shards.index import CARD, RECORDS
from vita_data.shards.stats import STATS
from vita_data.shards.sums import parse_summed, with_sum
from vita_data.storage.files import AnyPath, list_files, read_notes, remove, write_atomically
from vita_data.types import Json, Part

Records = dict[int, UnitRecord | None]
"""Each unit's record by number; None if the unit has to be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """The content of `.build/plan.json`."""

    digest: str
    """Digest of everything a record depends on: settings, versions and the parts of each unit, but not sizes."""
    fingerprint: Json
    grouping: tuple[tuple[str, ...], ...]
    """The parts of each unit, including those beyond `--limit`."""
    num_units: int | None
    """How many units are within `--limit`; None: all, or a plan of an earlier version, which stored only these."""

    @property
    def limit(self) -> int | None:
        """The number of raw episodes in the build; None: all."""
        found = self.fingerprint.get("limit")
        return found if isinstance(found, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlan:
    """The plan of a run, and what earlier runs have done of it."""

    digest: str
    fingerprint: Json
    units: tuple[Unit, ...]
    records: Records
    is_finished: bool
    """Nothing is left to do."""


def read_plan(folder: AnyPath) -> StoredPlan | None:
    """Read the plan of a build; None if none was started.

    Raises:
        RequestError: the file is damaged.
    """
    path = folder / RECORDS / PLAN
    try:
        return _parsed(parse_summed(read_notes([path])[0]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path}: expected the plan of a build, got {error}; remove it and run the same build again, which builds "
            "all units anew"
        ) from error


def _parsed(value: Mapping[str, Any]) -> StoredPlan:
    grouping = tuple(tuple(str(id_) for id_ in ids) for ids in value["units"])
    num_units, print_ = value.get("num_units"), {**value["fingerprint"]}
    if num_units is not None and not (type(num_units) is int and 0 <= num_units <= len(grouping)):
        raise ValueError(f"num_units {num_units!r:.40} of {len(grouping)} units")
    if lacking := {"source", "parts"} - print_.keys():
        raise ValueError(f"a fingerprint without {', '.join(sorted(lacking))}")
    return StoredPlan(digest=str(value["digest"]), fingerprint=print_, grouping=grouping, num_units=num_units)


def require_plan(folder: AnyPath, digest: str, *, limit: int | None) -> None:
    """Refuse to write if the folder does not hold this plan: the disk was swapped or another build replaced it.

    Raises:
        StorageError: the plan is missing.
        RequestError: the plan belongs to another build.
    """
    found = read_plan(folder)
    if found is None:
        raise StorageError(f"{folder}: its plan was written when the build started but is now missing; {BRING_BACK}")
    if (found.digest, found.limit) != (digest, limit):
        raise RequestError(
            f"{folder}: another build with other settings or other raw data has meanwhile replaced this one; "
            "run each build with its own --out"
        )


def open_plan(request: BuildRequest, parts: Sequence[Part], share: Share | None) -> OpenPlan:
    """Write the plan of a new build, or compare the request with the existing plan.

    Raises:
        RequestError: the output was made with other settings, raw data or versions, or has more episodes than
            requested.
    """
    # Use the form that is read back from the file.
    print_: Json = json.loads(json.dumps(fingerprint(request, parts)))
    before = read_plan(request.folder)
    if before is None:
        return _started(request, parts, print_)
    before = _with_new_settings(before, request)
    if (same := _same_if_whole(request, before)) is not request:
        request, print_ = same, {**print_, "limit": None}
    _refuse_smaller(request, before)
    if before.limit is not None and before.num_units is None:
        return _regrouped(request, parts, print_, before)
    return _continued(request, parts, print_, before, share)


def _with_new_settings(before: StoredPlan, request: BuildRequest) -> StoredPlan:
    """Add the settings that an earlier version did not have, with their defaults, which keep its behaviour."""
    found = before.fingerprint.get("settings")
    if not isinstance(found, dict):
        return before
    return replace(before, fingerprint={**before.fingerprint, "settings": {**_defaults(request), **found}})


def _refuse_smaller(request: BuildRequest, before: StoredPlan) -> None:
    """Refuse a smaller `--limit` than that of the output: it would remove episodes that are built or being built."""
    if request.limit is None or (before.limit is not None and before.limit <= request.limit):
        return
    if before.limit is None:
        numbers = range(len(before.grouping))
        held = list(read_records(request.folder, numbers, plan=before.digest).values())
        whole = all(held)
        count = sum(len(record.episodes) for record in held if record)
        holds = f"already contains all {count} raw episodes" if whole else "was started without --limit"
        remedy = "Omit --limit"
    else:
        holds, remedy = f"was built with --limit {before.limit}", f"Give --limit {before.limit} or more"
    raise RequestError(
        f"{request.folder} {holds}; the smaller --limit {request.limit} would remove some of them. "
        f"{remedy}, or give another --out"
    )


def _same_if_whole(request: BuildRequest, before: StoredPlan) -> BuildRequest:
    """Treat a `--limit` that covers all of a finished build like no limit: both ask for the same."""
    if request.limit is None or before.limit is not None:
        return request
    held = read_records(request.folder, range(len(before.grouping)), plan=before.digest).values()
    num_episodes = sum(len(record.episodes) for record in held if record)
    return replace(request, limit=None) if all(held) and num_episodes <= request.limit else request


def _started(request: BuildRequest, parts: Sequence[Part], print_: Json) -> OpenPlan:
    grouping = group_parts(parts, unit_bytes=request.settings.unit_bytes)
    units = cut_units(parts, grouping, limit=request.limit)
    digest = plan_digest(print_, grouping)
    _write_plan(request.folder, digest, print_, grouping, units)
    # Any records in the folder belong to another plan.
    return OpenPlan(
        digest=digest,
        fingerprint=print_,
        units=tuple(units),
        records=dict.fromkeys(unit.number for unit in units),
        is_finished=False,
    )


def _regrouped(request: BuildRequest, parts: Sequence[Part], print_: Json, before: StoredPlan) -> OpenPlan:
    """Start again: an earlier version with a limit grouped only the first parts."""
    ignored = ["limit", "parts"] if _part_ids(before.fingerprint) == _part_ids(print_) else ["limit"]
    _refuse_difference(request, before, print_, ignored=ignored)
    remove(request.folder / CARD)
    for number in range(len(before.grouping)):
        remove(record_path(request.folder, number))
    return _started(request, parts, print_)


def _continued(
    request: BuildRequest, parts: Sequence[Part], print_: Json, before: StoredPlan, share: Share | None
) -> OpenPlan:
    folder, grows = request.folder, before.limit != request.limit
    units = cut_units(parts, before.grouping, limit=request.limit)
    digest = plan_digest(print_, before.grouping) if grows else before.digest
    found = read_records(folder, [unit.number for unit in units], plan=digest)
    records = _whole_records(found, units)
    is_done = not grows and _is_finished(folder, records)
    # Other library versions do not matter if nothing is left to build.
    ignored = ["versions"] if is_done and not request.retry_failed else []
    if request.retry_failed and _only_failed_changed(before.fingerprint, print_, units, records):
        ignored.append("parts")
    _refuse_difference(request, before, print_, ignored=[*ignored, "limit"], failed=_redone_parts(units, records))
    is_changed = before.fingerprint["parts"] != print_["parts"]
    # Remove stale records before the plan is written: a run killed in between must not reuse them for the new files.
    stale = [number for number, record in found.items() if record and not records[number]]
    if request.retry_failed:
        mine = [unit for unit in units if is_changed or share is None or share.has(unit.number)]
        stale += [unit.number for unit in mine if (record := records[unit.number]) and failed_rows([record])]
    is_other = grows or (request.retry_failed and is_changed)
    if stale or is_other:
        remove(folder / CARD)
    for number in stale:
        remove(record_path(folder, number))
    if is_other:
        _write_plan(folder, digest, print_, before.grouping, units)
    records = {**records, **dict.fromkeys(stale)}
    is_finished = is_done and not stale and not is_other
    return OpenPlan(digest=digest, fingerprint=print_, units=tuple(units), records=records, is_finished=is_finished)


def _whole_records(found: Records, units: Sequence[Unit]) -> Records:
    """Drop the records of units that were built with another limit."""
    return {
        unit.number: record if (record := found[unit.number]) and record.limit == unit.limit else None for unit in units
    }


def _is_finished(folder: AnyPath, records: Records) -> bool:
    return all(records.values()) and {CARD, STATS, EPISODES} <= set(list_files(folder))


def _write_plan(folder: AnyPath, digest: str, print_: Json, grouping: Grouping, units: Sequence[Unit]) -> None:
    plan: dict[str, object] = {"digest": digest, "fingerprint": print_, "units": [list(ids) for ids in grouping]}
    if print_["limit"] is not None:
        plan["num_units"] = len(units)
    write_atomically(folder / RECORDS / PLAN, json.dumps(with_sum(plan), indent=1, sort_keys=True).encode() + b"\n")


def _part_ids(print_: Json) -> list[object]:
    parts = print_["parts"]
    return [id_ for id_, _ in parts] if isinstance(parts, list) else []


def _refuse_difference(
    request: BuildRequest, before: StoredPlan, now: Json, *, ignored: Sequence[str], failed: Collection[str] = ()
) -> None:
    refuse_difference(
        before.fingerprint,
        now,
        folder=request.folder,
        raw=request.raw,
        defaults=_defaults(request),
        failed=failed,
        ignored=ignored,
    )


def _defaults(request: BuildRequest) -> Json:
    """Return the default settings of the source, in the form read back from the file."""
    defaults: Json = json.loads(json.dumps(settings_json(type(request.settings)())))
    return defaults


def _redone_parts(units: Sequence[Unit], records: Records) -> set[str]:
    """Return the raw parts of the units that `--retry-failed` builds again."""
    redone = [unit for unit in units if not (record := records[unit.number]) or failed_rows([record])]
    return {planned.part.id for unit in redone for planned in unit.parts}


def _only_failed_changed(before: Json, now: Json, units: Sequence[Unit], records: Records) -> bool:
    """Tell whether all raw parts that changed size are in units that will be rebuilt."""
    old, new = before["parts"], now["parts"]
    if not isinstance(old, list) or not isinstance(new, list) or _part_ids(before) != _part_ids(now):
        return False
    changed = {id_ for (id_, old_size), (_, new_size) in zip(old, new, strict=True) if old_size != new_size}
    return changed <= _redone_parts(units, records)
