"""The plan that a build leaves beside its records, and how a later run goes on from both."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vita_data.build.finish import EPISODES, failed_rows
from vita_data.build.plan import (
    BuildRequest,
    Share,
    Unit,
    config_hash,
    fingerprint,
    fits,
    make_units,
    refuse_difference,
    same_units,
)
from vita_data.build.records import PLAN, UnitRecord, read_records, record_path
from vita_data.errors import BRING_BACK, RequestError, StorageError
from vita_data.shards.index import CARD, RECORDS
from vita_data.shards.stats import STATS
from vita_data.storage import AnyPath, list_files, read_files, remove, write_atomically
from vita_data.types import Json, Part

Records = dict[int, UnitRecord | None]
"""Each unit's record by number, None where the unit has to be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """What `.build/plan.json` holds."""

    digest: str
    """Of all that makes a record of another plan worthless: settings, versions, the parts of each unit; no sizes."""
    fingerprint: Json
    grouping: tuple[tuple[str, ...], ...]
    """The parts of each unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlan:
    """A plan that a run works on, and what was done of it before."""

    digest: str
    fingerprint: Json
    units: tuple[Unit, ...]
    records: Records
    is_finished: bool
    """Nothing is left to do."""


def read_plan(folder: AnyPath) -> StoredPlan | None:
    """Read the plan of a build; None where none was started.

    Raises:
        RequestError: the file is damaged.
    """
    path = folder / RECORDS / PLAN
    try:
        value = json.loads(read_files([path])[0])
        grouping = tuple(tuple(str(id_) for id_ in ids) for ids in value["units"])
        return StoredPlan(digest=str(value["digest"]), fingerprint={**value["fingerprint"]}, grouping=grouping)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path}: cannot be read ({error!r}); remove {folder} and build again") from error


def require_plan(folder: AnyPath, digest: str) -> None:
    """Refuse to write where the build's plan is not: the disk is another one, or another build has taken the folder.

    Raises:
        StorageError: the plan is gone.
        RequestError: the plan is another build's.
    """
    found = read_plan(folder)
    if found is None:
        raise StorageError(f"{folder}: its plan was there when the build started and is gone; {BRING_BACK}")
    if found.digest != digest:
        raise RequestError(
            f"{folder}: another build, with other settings or other raw data, has taken this output meanwhile; "
            "give each its own --out, and run both again"
        )


def open_plan(request: BuildRequest, parts: Sequence[Part], share: Share | None) -> OpenPlan:
    """Write the plan of a new build, or compare the request with the plan that is there.

    Raises:
        RequestError: the output was made with other settings, raw data or versions.
    """
    # As it comes back from the file.
    print_: Json = json.loads(json.dumps(fingerprint(request, parts)))
    before = read_plan(request.folder)
    if before is None:
        return _started(request, parts, print_)
    if request.retry_failed and not fits(parts, before.grouping, limit=request.limit):
        return _regrouped(request, parts, print_, before)
    return _continued(request, parts, print_, before, share)


def _started(request: BuildRequest, parts: Sequence[Part], print_: Json) -> OpenPlan:
    units = make_units(parts, unit_bytes=request.settings.unit_bytes, limit=request.limit)
    digest = _write_plan(request.folder, print_, units)
    # Whatever records lie there are another plan's.
    return OpenPlan(
        digest=digest,
        fingerprint=print_,
        units=tuple(units),
        records=dict.fromkeys(unit.number for unit in units),
        is_finished=False,
    )


def _regrouped(request: BuildRequest, parts: Sequence[Part], print_: Json, before: StoredPlan) -> OpenPlan:
    """Begin anew: a part that can be counted only now lets others in, or keeps them out."""
    ignored = ["parts"] if _part_ids(before.fingerprint) == _part_ids(print_) else []
    refuse_difference(before.fingerprint, print_, folder=request.folder, ignored=ignored)
    remove(request.folder / CARD)
    for number in range(len(before.grouping)):
        remove(record_path(request.folder, number))
    return _started(request, parts, print_)


def _continued(
    request: BuildRequest, parts: Sequence[Part], print_: Json, before: StoredPlan, share: Share | None
) -> OpenPlan:
    folder = request.folder
    units = same_units(parts, before.grouping, limit=request.limit)
    records = read_records(folder, [unit.number for unit in units], plan=before.digest)
    is_finished = all(records.values()) and {CARD, STATS, EPISODES} <= set(list_files(folder))
    is_finished = is_finished and not request.retry_failed
    # Other library versions do not matter where nothing is left to build.
    ignored = ["versions"] if is_finished else []
    if request.retry_failed and _only_failed_changed(before.fingerprint, print_, units, records):
        ignored.append("parts")
    refuse_difference(before.fingerprint, print_, folder=folder, ignored=ignored)
    if request.retry_failed:
        is_changed = before.fingerprint["parts"] != print_["parts"]
        # Before the plan: a run that is killed in between must not take these records for those of the new files.
        mine = [unit for unit in units if is_changed or share is None or share.has(unit.number)]
        records = _forget_failed(folder, records, mine)
        if is_changed:
            _write_plan(folder, print_, units)
        is_finished = all(records.values()) and {CARD, STATS, EPISODES} <= set(list_files(folder))
    return OpenPlan(
        digest=before.digest, fingerprint=print_, units=tuple(units), records=records, is_finished=is_finished
    )


def _write_plan(folder: AnyPath, print_: Json, units: Sequence[Unit]) -> str:
    """Write the plan and return its digest."""
    grouping = [[planned.part.id for planned in unit.parts] for unit in units]
    digest = config_hash({**print_, "parts": grouping})
    plan = {"digest": digest, "fingerprint": print_, "units": grouping}
    write_atomically(folder / RECORDS / PLAN, json.dumps(plan, indent=1, sort_keys=True).encode() + b"\n")
    return digest


def _part_ids(print_: Json) -> list[object]:
    parts = print_["parts"]
    return [id_ for id_, _ in parts] if isinstance(parts, list) else []


def _only_failed_changed(before: Json, now: Json, units: Sequence[Unit], records: Records) -> bool:
    """Tell whether the raw parts that have another size are all in units that will be built again."""
    old, new = before["parts"], now["parts"]
    if not isinstance(old, list) or not isinstance(new, list) or _part_ids(before) != _part_ids(now):
        return False
    changed = {id_ for (id_, old_size), (_, new_size) in zip(old, new, strict=True) if old_size != new_size}
    redone = [unit for unit in units if not (record := records[unit.number]) or failed_rows([record])]
    return changed <= {planned.part.id for unit in redone for planned in unit.parts}


def _forget_failed(folder: AnyPath, records: Records, units: Sequence[Unit]) -> Records:
    failed = [unit.number for unit in units if (record := records[unit.number]) and failed_rows([record])]
    if failed:
        remove(folder / CARD)
    for number in failed:
        remove(record_path(folder, number))
    return {**records, **dict.fromkeys(failed)}
