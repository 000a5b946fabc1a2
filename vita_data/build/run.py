"""Runs a build's units in worker processes, goes on where an earlier run stopped, and finishes the source."""

import fcntl
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vita_data.build.finish import failed_rows, finish
from vita_data.build.plan import BuildRequest, Unit, fingerprint, make_units, refuse_difference, same_units
from vita_data.build.unit import RECORDS, EpisodeOutcome, EpisodeRow, UnitRecord, read_record, record_path, run_unit
from vita_data.errors import RequestError
from vita_data.formats.tree import FsspecTree
from vita_data.shards.index import CARD, read_card
from vita_data.shards.writer import write_atomically
from vita_data.sources import load
from vita_data.types import Json, Part

PLAN = "plan.json"
LOCK = "lock"


class BuildState(StrEnum):
    """Whether this call did anything."""

    BUILT = "built"
    ALREADY_DONE = "already done"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build left: its card and the raw episodes that could not be read."""

    state: BuildState
    folder: Path
    card: Json
    failed: tuple[EpisodeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStatus:
    """How far a build is."""

    source: str
    num_units: int
    num_done: int
    outcomes: Json
    drops: Json
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDone:
    """Told after each unit, in the order in which units end."""

    record: UnitRecord
    num_done: int
    num_units: int


def build(request: BuildRequest, *, on_unit: Callable[[UnitDone], None] = lambda done: None) -> BuildResult:
    """Build a source, or go on with a build that stopped.

    A unit whose record or shards are gone is built again. `retry_failed` builds units with failed episodes again, from
    files that may have been fetched anew.

    Raises:
        RequestError: unknown source, wrong raw tree, an output made with other settings, or a build under way on it.
    """
    source = load(request.source)
    if request.out.exists() and not request.out.is_dir():
        raise RequestError(f"--out {request.out} is a file: name a folder")
    parts = source.parts(FsspecTree(request.raw), request.settings)
    _check_parts(request, parts)
    with _alone(request.folder):
        print_, units, records = _open_plan(request, parts)
        if request.retry_failed:
            records = _forget_failed(request.folder, records)
        done = [record for record in records.values() if record]
        if len(done) == len(units) and (request.folder / CARD).exists():
            return BuildResult(
                state=BuildState.ALREADY_DONE,
                folder=request.folder,
                card=read_card(request.folder),
                failed=tuple(failed_rows(done)),
            )
        (request.folder / CARD).unlink(missing_ok=True)
        for record in _run(request, [unit for unit in units if not records[unit.number]]):
            done.append(record)
            on_unit(UnitDone(record=record, num_done=len(done), num_units=len(units)))
        done.sort(key=lambda record: record.number)
        card = finish(request.folder, source.INFO, print_, done)
    return BuildResult(state=BuildState.BUILT, folder=request.folder, card=card, failed=tuple(failed_rows(done)))


def status(folder: Path) -> BuildStatus:
    """Tell how far a build is.

    Raises:
        RequestError: there is no build in the folder.
    """
    plan = _read_plan(folder)
    if plan is None:
        raise RequestError(f"{folder}: no build was started there")
    num_units = len(plan.grouping)
    records = [record for number in range(num_units) if (record := read_record(folder, number))]
    rows = [row for record in records for row in record.episodes]
    reasons = sorted({row.reason for row in rows if row.reason})
    return BuildStatus(
        source=str(plan.fingerprint["source"]),
        num_units=num_units,
        num_done=len(records),
        outcomes={outcome: sum(record.count(outcome) for record in records) for outcome in EpisodeOutcome},
        drops={reason: sum(row.reason == reason for row in rows) for reason in reasons},
        finished=len(records) == num_units and (folder / CARD).exists(),
    )


def _check_parts(request: BuildRequest, parts: Sequence[Part]) -> None:
    ids = [part.id for part in parts]
    if not ids:
        raise RequestError(f"--raw {request.raw}: no data of source {request.source!r} found")
    if len(set(ids)) != len(ids):
        raise ValueError(f"source {request.source} lists a part twice")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the output against a second build; the kernel lets go when this process ends, however it ends."""
    records = folder / RECORDS
    if folder.exists() and not records.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty and holds no build; use another --out or remove it")
    records.mkdir(parents=True, exist_ok=True)
    with open(records / LOCK, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"{folder}: another build is running on it; wait for it or stop it") from None
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    fingerprint: Json
    grouping: tuple[tuple[str, ...], ...]
    """The parts of each unit."""


def _read_plan(folder: Path) -> _Plan | None:
    path = folder / RECORDS / PLAN
    try:
        value = json.loads(path.read_text())
        grouping = tuple(tuple(str(id_) for id_ in ids) for ids in value["units"])
        return _Plan(fingerprint={**value["fingerprint"]}, grouping=grouping)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path}: cannot be read ({error!r}); remove {folder} and build again") from error


_Records = dict[int, UnitRecord | None]
"""Each unit's record by number, None where the unit has to be built."""


def _open_plan(request: BuildRequest, parts: Sequence[Part]) -> tuple[Json, list[Unit], _Records]:
    """Write the plan of a new build, or compare the request with the plan that is there."""
    folder = request.folder
    now: Json = json.loads(json.dumps(fingerprint(request, parts)))
    before = _read_plan(folder)
    if before is None:
        units = make_units(parts, unit_bytes=request.settings.unit_bytes, limit=request.limit)
    else:
        units = same_units(parts, before.grouping, limit=request.limit)
    records = {unit.number: read_record(folder, unit.number) for unit in units}
    if before is not None:
        # Other library versions do not matter where nothing is left to build.
        is_finished = all(records.values()) and (folder / CARD).exists() and not request.retry_failed
        ignored = ["versions"] if is_finished else []
        if request.retry_failed and _only_failed_changed(before.fingerprint, now, units, records):
            ignored.append("parts")
        refuse_difference(before.fingerprint, now, folder=folder, ignored=ignored)
    if before is None or before.fingerprint["parts"] != now["parts"]:
        _write_plan(folder, now, units)
    return now, units, records


def _write_plan(folder: Path, print_: Json, units: Sequence[Unit]) -> None:
    plan = {"fingerprint": print_, "units": [[planned.part.id for planned in unit.parts] for unit in units]}
    write_atomically(folder / RECORDS / PLAN, json.dumps(plan, indent=1, sort_keys=True).encode() + b"\n")


def _only_failed_changed(before: Json, now: Json, units: Sequence[Unit], records: _Records) -> bool:
    """Tell whether the raw parts that have another size are all in units that will be built again."""
    old, new = before["parts"], now["parts"]
    if not isinstance(old, list) or not isinstance(new, list) or [id_ for id_, _ in old] != [id_ for id_, _ in new]:
        return False
    changed = {id_ for (id_, old_size), (_, new_size) in zip(old, new, strict=True) if old_size != new_size}
    redone = [unit for unit in units if not (record := records[unit.number]) or failed_rows([record])]
    return changed <= {planned.part.id for unit in redone for planned in unit.parts}


def _forget_failed(folder: Path, records: _Records) -> _Records:
    kept = {number: None if record and failed_rows([record]) else record for number, record in records.items()}
    for number, record in records.items():
        if record is not kept[number]:
            (folder / CARD).unlink(missing_ok=True)
            record_path(folder, number).unlink()
    return kept


def _run(request: BuildRequest, units: Sequence[Unit]) -> Iterator[UnitRecord]:
    if request.workers == 1 or len(units) < 2:
        yield from (run_unit(request, unit) for unit in units)
        return
    # Spawned, not forked: decoders and their threads must not be inherited half-initialised.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(request.workers, len(units)), mp_context=context) as pool:
        futures = [pool.submit(run_unit, request, unit) for unit in units]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
