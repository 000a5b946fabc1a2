"""Runs a build's units, resumes where an earlier run stopped, and finishes the source."""

import errno
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vita_data.builder.drops import why_nothing
from vita_data.builder.engines import Engine, InlineEngine
from vita_data.builder.finish import failed_rows, finish
from vita_data.builder.leftovers import clear_leftovers
from vita_data.builder.listing import ListingTask
from vita_data.builder.plan import BuildRequest, Share, Unit
from vita_data.builder.records import EpisodeRow, UnitRecord
from vita_data.builder.stored_plan import OpenPlan, Records, open_plan, require_plan
from vita_data.builder.unit import OnProgress, UnitTask, ignore_progress
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.unread import Unread
from vita_data.shards.index import CARD, MERGE, RECORDS, is_built, read_card
from vita_data.storage.files import (
    AnyPath,
    expand_home,
    is_empty,
    list_files,
    remove,
    require_no_file,
    storage_errors,
)
from vita_data.storage.lock import keep_others_out
from vita_data.types import Json

LOCK = "lock"


class BuildState(StrEnum):
    """What this call of `build` did."""

    BUILT = "built"
    ALREADY_DONE = "already done"
    SHARE_BUILT = "share built"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The result of a build: its card (None after a share), and the raw episodes that could not be read."""

    state: BuildState
    folder: AnyPath
    card: Json | None
    failed: tuple[EpisodeRow, ...]
    nothing: str = ""
    """Why a finished build has no clips, and which setting changes that; empty if it has some."""
    unread: Unread | None = None
    """Files of the raw tree that no part reads; a share does not search for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDone:
    """Sent after each unit, in the order in which units end."""

    record: UnitRecord
    num_done: int
    num_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Sent before the first unit: what is already done, in units and raw bytes."""

    num_done: int
    num_units: int
    num_bytes_done: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Callbacks for the progress of a build, called from this process; `on_progress` from any of its threads."""

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
    """Build a source, or resume a build that stopped.

    A unit whose record or shards are missing is built again. `retry_failed` rebuilds units with failed episodes, whose
    files may have been fetched again. A `share` builds only its units; a run without a share writes the card.

    Args:
        request: what to build.
        engine: where; by default in this process, which a damaged file may hang or crash. Commands use `LocalEngine`.
        share: which units to build; None: all.
        listeners: are told of the progress.

    Raises:
        RequestError: unknown source, wrong raw tree, an output made with other settings, or another build is writing to
            it.
        StorageError: a disk or an object store is full, unreachable or missing.
        WorkerError: a worker process or a node was lost.
    """
    with closing(engine or InlineEngine()) as running:
        return _build(request, running, share, listeners or Listeners())


def _build(request: BuildRequest, engine: Engine, share: Share | None, listeners: Listeners) -> BuildResult:
    source = request.load()
    require_no_file(request.out, "--out")
    _require_no_source(request.out)
    _require_outside(request.out, request.raw)
    listing = engine.list_raw(ListingTask(request=request, with_unread=share is None))
    request = replace(request, raw=listing.address)
    _require_not_merged(request.folder)
    with storage_errors(request.folder), _held(request.folder, share):
        plan = open_plan(request, listing.parts, share)
        if share is None and plan.is_finished:
            records = _built(plan.records, plan.units)
            card = read_card(request.folder)
            return replace(_result(BuildState.ALREADY_DONE, request, records, card=card), unread=listing.unread)
        mine = [unit for unit in plan.units if share is None or share.has(unit.number)]
        task_of = partial(_task, request, plan, listing.landmarks)
        tasks = [task_of(unit) for unit in mine if not plan.records[unit.number]]
        if tasks:
            remove(request.folder / CARD)
        clear_leftovers(request.folder, [task.unit.number for task in tasks])
        with closing(_run(engine, tasks, plan, listeners)) as done_units:
            built = {record.number: record for record in done_units}
        records = _built({**plan.records, **built}, mine)
        if share is not None:
            return _result(BuildState.SHARE_BUILT, request, records, card=None)
        if repeated := _repeated(records):
            todo = [replace(task_of(unit), taken=repeated[unit.number]) for unit in mine if unit.number in repeated]
            with closing(engine.run(todo, ignore_progress)) as done_units:
                built |= {record.number: record for record in done_units}
            records = _built({**plan.records, **built}, mine)
        limit = plan.fingerprint["limit"]
        require_plan(request.folder, plan.digest, limit=limit if isinstance(limit, int) else None)
        card = finish(request.folder, source.INFO, plan.fingerprint, records)
    return replace(_result(BuildState.BUILT, request, records, card=card), unread=listing.unread)


def _built(records: Records, units: Iterable[Unit]) -> list[UnitRecord]:
    """List the records of the built units, in the order of the units."""
    return [record for unit in units if (record := records[unit.number])]


def _repeated(records: Sequence[UnitRecord]) -> dict[int, frozenset[str]]:
    """Return the units with ids that earlier units have already, and these ids: only their first episode is stored."""
    seen: set[str] = set()
    found: dict[int, frozenset[str]] = {}
    for record in records:
        ids = {row.id for row in record.episodes}
        if twice := ids & seen:
            found[record.number] = frozenset(twice)
        seen |= ids
    return found


def _result(
    state: BuildState, request: BuildRequest, records: Sequence[UnitRecord], *, card: Json | None
) -> BuildResult:
    rows = [row for record in records for row in record.episodes]
    nothing = "" if card is None else why_nothing(rows, request.settings, folder=request.folder)
    failed = tuple(failed_rows(records))
    return BuildResult(state=state, folder=request.folder, card=card, failed=failed, nothing=nothing)


def _task(request: BuildRequest, plan: OpenPlan, landmarks: tuple[str, ...], unit: Unit) -> UnitTask:
    versions = plan.fingerprint["versions"]
    if not isinstance(versions, dict):
        raise TypeError(f"versions in the plan are {versions!r}")
    raw = request.raw if "://" in request.raw else str(Path(expand_home(request.raw)).absolute())
    out = request.out.absolute() if isinstance(request.out, Path) else request.out
    # A worker on a cluster has another working folder.
    file = str(Path(request.source_file).absolute()) if request.source_file else ""
    request = replace(request, raw=raw, out=out, source_file=file)
    code = str(plan.fingerprint.get("source_file", ""))
    return UnitTask(request=request, unit=unit, plan=plan.digest, versions=versions, code=code, landmarks=landmarks)


def _run(
    engine: Engine, tasks: Sequence[UnitTask], plan: OpenPlan, listeners: Listeners
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


def _require_not_merged(folder: AnyPath) -> None:
    """Refuse to build over a merged source; raises RequestError."""
    if list_files(folder / MERGE):
        raise RequestError(f"{folder} was made by `vita-data merge`; give another --out")


def _require_no_source(out: AnyPath) -> None:
    """Refuse to build a source inside another one: its shards would be one level deeper than expected."""
    with storage_errors(out):
        if is_built(out) or list_files(out / RECORDS):
            raise RequestError(
                f"--out {out} is itself a built source; each source is built in its own folder below --out; give "
                f"{out.parent}"
            )


def _require_outside(out: AnyPath, raw: str) -> None:
    """Refuse an output inside the raw data, where the next build would read it as raw data."""
    if not isinstance(out, Path) or "://" in raw:
        return
    place, root = out.resolve(), Path(expand_home(raw)).resolve()
    if place == root or root in place.parents:
        raise RequestError(f"--out {out} is inside --raw {raw}; give an --out outside the raw data")


@contextmanager
def _held(folder: AnyPath, share: Share | None) -> Iterator[None]:
    """Lock the output against a second build; the kernel releases the lock when this process ends for any reason.

    Shares of one build share the lock. An object store has no locks: two builds there do the same work twice, but
    every file that they write is complete and identical.
    """
    records = folder / RECORDS
    if not is_empty(folder) and is_empty(records) and not (isinstance(records, Path) and records.exists()):
        raise RequestError(f"{folder} is not empty and does not contain a build; remove it or use another --out")
    if not isinstance(records, Path):
        yield
        return
    with _lock_file(records / LOCK) as lock:
        # Where the file system has no locks, a second build is a waste but does no damage, as on an object store.
        refusal = f"{folder}: another build is writing to it; wait until it ends, or stop it"
        keep_others_out(lock, refusal, shared=share is not None)
        yield


def _lock_file(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        # A finished build in a read-only folder is still recognised as finished; locking needs no write permission.
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not path.exists():
            raise
        return path.open("rb")
