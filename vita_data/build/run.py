"""Runs a build's units, goes on where an earlier run stopped, and finishes the source."""

import fcntl
import json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from vita_data.build.engines import Engine, LocalEngine
from vita_data.build.finish import failed_rows, finish
from vita_data.build.plan import BuildRequest, Share, Unit, fingerprint, fits, make_units, refuse_difference, same_units
from vita_data.build.records import PLAN, RECORDS, EpisodeRow, UnitRecord, read_records, record_path
from vita_data.build.unit import OnProgress, UnitTask, ignore_progress
from vita_data.errors import RequestError
from vita_data.formats.tree import FsspecTree
from vita_data.shards.index import CARD, read_card
from vita_data.sources import load
from vita_data.storage import (
    AnyPath,
    is_empty,
    list_files,
    read_files,
    remove,
    remove_abandoned,
    storage_errors,
    write_atomically,
)
from vita_data.types import Json, Part, Split

LOCK = "lock"
_MAX_LANDMARKS = 100
_LEFTOVER = re.compile(r"\..*-(\d{6})\.(?:tar|arrow|json)\.[0-9a-f]+\.tmp")


class BuildState(StrEnum):
    """What this call did."""

    BUILT = "built"
    ALREADY_DONE = "already done"
    SHARE_BUILT = "share built"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build left: its card (None after a share), and the raw episodes that could not be read."""

    state: BuildState
    folder: AnyPath
    card: Json | None
    failed: tuple[EpisodeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDone:
    """Told after each unit, in the order in which units end."""

    record: UnitRecord
    num_done: int
    num_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Told before the first unit: what is done already, in units and raw bytes."""

    num_done: int
    num_units: int
    num_bytes_done: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who is told how a build goes; each call comes from this process, `on_progress` from any of its threads."""

    on_start: Callable[[Started], None] = lambda started: None
    on_unit: Callable[[UnitDone], None] = lambda done: None
    on_progress: OnProgress = ignore_progress


def build(
    request: BuildRequest,
    *,
    engine: Engine | None = None,
    share: Share | None = None,
    listeners: Listeners | None = None,
) -> BuildResult:
    """Build a source, or go on with a build that stopped.

    A unit whose record or shards are gone is built again. `retry_failed` builds units with failed episodes again, from
    files that may have been fetched anew. A `share` builds only its units and leaves the card to a run without one.

    Raises:
        RequestError: unknown source, wrong raw tree, an output made with other settings, or a build under way on it.
        StorageError: a disk or an object store is full, unreachable or gone.
        WorkerError: a worker process or a node was lost.
    """
    source, listeners = load(request.source), listeners or Listeners()
    if isinstance(request.out, Path) and request.out.exists() and not request.out.is_dir():
        raise RequestError(f"--out {request.out} is a file: name a folder")
    with FsspecTree(request.raw) as raw:
        parts = source.parts(raw, request.settings)
        landmarks = tuple(raw.glob("*")[:_MAX_LANDMARKS])
    _check_parts(request, parts)
    with storage_errors(request.folder), _held(request.folder, share):
        plan = _open_plan(request, parts, share)
        mine = [unit for unit in plan.units if share is None or share.has(unit.number)]
        records = plan.records
        if share is None and all(records.values()) and CARD in list_files(request.folder):
            return _result(BuildState.ALREADY_DONE, request.folder, records, card=read_card(request.folder))
        tasks = [_task(request, unit, plan.fingerprint, landmarks) for unit in mine if not records[unit.number]]
        if tasks:
            remove(request.folder / CARD)
        _clear_leftovers(request.folder, tasks)
        with closing(_run(engine or LocalEngine(), tasks, plan, listeners)) as done_units:
            records.update((record.number, record) for record in done_units)
        if share is not None:
            own = {unit.number: records[unit.number] for unit in mine}
            return _result(BuildState.SHARE_BUILT, request.folder, own, card=None)
        done = [record for _, record in sorted(records.items()) if record]
        card = finish(request.folder, source.INFO, plan.fingerprint, done)
    return _result(BuildState.BUILT, request.folder, records, card=card)


_Records = dict[int, UnitRecord | None]
"""Each unit's record by number, None where the unit has to be built."""


def _result(state: BuildState, folder: AnyPath, records: _Records, *, card: Json | None) -> BuildResult:
    done = [record for _, record in sorted(records.items()) if record]
    return BuildResult(state=state, folder=folder, card=card, failed=tuple(failed_rows(done)))


def _task(request: BuildRequest, unit: Unit, print_: Json, landmarks: tuple[str, ...]) -> UnitTask:
    versions = print_["versions"]
    if not isinstance(versions, dict):
        raise TypeError(f"versions in the plan are {versions!r}")
    raw = request.raw if "://" in request.raw else str(Path(request.raw).absolute())
    out = request.out.absolute() if isinstance(request.out, Path) else request.out
    # A worker of a cluster runs in another folder.
    request = replace(request, raw=raw, out=out)
    return UnitTask(request=request, unit=unit, versions=versions, landmarks=landmarks)


def _clear_leftovers(folder: AnyPath, tasks: Sequence[UnitTask]) -> None:
    """Remove what killed runs left of these units: on a full disk it would stand in the way."""
    if not isinstance(folder, Path):
        return
    wanted = {f"{task.unit.number:06d}" for task in tasks}
    for place in (folder / RECORDS, *(folder / split for split in Split)):
        for name in list_files(place):
            number = _LEFTOVER.fullmatch(name)
            if number and number[1] in wanted:
                remove_abandoned(place / name)


def _run(
    engine: Engine, tasks: Sequence[UnitTask], plan: "_OpenPlan", listeners: Listeners
) -> Generator[UnitRecord, None, None]:
    to_do = {task.unit.number for task in tasks}
    sizes = {unit.number: sum(planned.part.num_bytes for planned in unit.parts) for unit in plan.units}
    num_done, num_units = len(sizes) - len(to_do), len(sizes)
    num_bytes_done = sum(size for number, size in sizes.items() if number not in to_do)
    listeners.on_start(
        Started(num_done=num_done, num_units=num_units, num_bytes_done=num_bytes_done, num_bytes=sum(sizes.values()))
    )
    with closing(engine.run(tasks, listeners.on_progress)) as records:
        for number, record in enumerate(records, start=num_done + 1):
            listeners.on_unit(UnitDone(record=record, num_done=number, num_units=num_units))
            yield record


def _check_parts(request: BuildRequest, parts: Sequence[Part]) -> None:
    ids = [part.id for part in parts]
    if not ids:
        raise RequestError(f"--raw {request.raw}: no data of source {request.source!r} found")
    if len(set(ids)) != len(ids):
        raise ValueError(f"source {request.source} lists a part twice")


@contextmanager
def _held(folder: AnyPath, share: Share | None) -> Iterator[None]:
    """Hold the output against a second build; the kernel lets go when this process ends, however it ends.

    Shares of one build hold it together. An object store has no locks: two builds there do the same work twice, and
    every file that they write is whole and the same.
    """
    records = folder / RECORDS
    if not is_empty(folder) and is_empty(records) and not (isinstance(records, Path) and records.exists()):
        raise RequestError(f"{folder} is not empty and holds no build; use another --out or remove it")
    if not isinstance(records, Path):
        yield
        return
    records.mkdir(parents=True, exist_ok=True)
    with open(records / LOCK, "a+b") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if share is None else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"{folder}: another build is running on it; wait for it or stop it") from None
        except OSError:
            # Some network file systems have no locks; as on an object store, a second build is waste and no damage.
            pass
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """What `.build/plan.json` holds."""

    fingerprint: Json
    grouping: tuple[tuple[str, ...], ...]
    """The parts of each unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPlan:
    fingerprint: Json
    units: tuple[Unit, ...]
    records: _Records


def read_plan(folder: AnyPath) -> StoredPlan | None:
    """Read the plan of a build; None where none was started.

    Raises:
        RequestError: the file is damaged.
    """
    path = folder / RECORDS / PLAN
    try:
        value = json.loads(read_files([path])[0])
        grouping = tuple(tuple(str(id_) for id_ in ids) for ids in value["units"])
        return StoredPlan(fingerprint={**value["fingerprint"]}, grouping=grouping)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path}: cannot be read ({error!r}); remove {folder} and build again") from error


def _open_plan(request: BuildRequest, parts: Sequence[Part], share: Share | None) -> _OpenPlan:
    """Write the plan of a new build, or compare the request with the plan that is there."""
    folder = request.folder
    now: Json = json.loads(json.dumps(fingerprint(request, parts)))
    before = read_plan(folder)
    is_regrouped = before is not None and request.retry_failed and not fits(parts, before.grouping, limit=request.limit)
    if before is None or is_regrouped:
        units = make_units(parts, unit_bytes=request.settings.unit_bytes, limit=request.limit)
    else:
        units = same_units(parts, before.grouping, limit=request.limit)
    # Without a plan nothing tells what the records were made with.
    records = read_records(folder, [unit.number for unit in units] if before else [])
    records = {unit.number: records.get(unit.number) for unit in units}
    if before is not None:
        # Other library versions do not matter where nothing is left to build.
        is_finished = all(records.values()) and CARD in list_files(folder) and not request.retry_failed
        ignored = ["versions"] if is_finished else []
        if request.retry_failed and _only_failed_changed(before.fingerprint, now, units, records):
            ignored.append("parts")
        refuse_difference(before.fingerprint, now, folder=folder, ignored=ignored)
    is_changed = before is None or before.fingerprint["parts"] != now["parts"]
    is_changed |= is_regrouped
    if is_regrouped:
        remove(folder / CARD)
        for number in records:
            remove(record_path(folder, number))
        records = dict.fromkeys(records)
    elif request.retry_failed:
        # Before the plan: a run that is killed in between must not take these records for those of the new files.
        mine = [unit for unit in units if is_changed or share is None or share.has(unit.number)]
        records = _forget_failed(folder, records, mine)
    if is_changed:
        _write_plan(folder, now, units)
    return _OpenPlan(fingerprint=now, units=tuple(units), records=records)


def _write_plan(folder: AnyPath, print_: Json, units: Sequence[Unit]) -> None:
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


def _forget_failed(folder: AnyPath, records: _Records, units: Sequence[Unit]) -> _Records:
    failed = [unit.number for unit in units if (record := records[unit.number]) and failed_rows([record])]
    for number in failed:
        remove(folder / CARD)
        remove(record_path(folder, number))
    return {**records, **dict.fromkeys(failed)}
