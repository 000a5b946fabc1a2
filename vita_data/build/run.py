"""Runs a build's units in worker processes, goes on where an earlier run stopped, and finishes the source."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vita_data.build.finish import failed_rows, finish
from vita_data.build.plan import BuildRequest, Unit, fingerprint, make_units, refuse_difference
from vita_data.build.unit import RECORDS, EpisodeOutcome, EpisodeRow, UnitRecord, read_record, record_path, run_unit
from vita_data.errors import RequestError
from vita_data.formats.tree import FsspecTree
from vita_data.shards.index import CARD, read_card
from vita_data.shards.stats import STATS
from vita_data.shards.writer import write_atomically
from vita_data.sources import load
from vita_data.types import Json, Part

PLAN = "plan.json"


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

    Raises:
        RequestError: unknown source, wrong raw tree, or an output made with other settings.
    """
    source = load(request.source)
    parts = source.parts(FsspecTree(request.raw), request.settings)
    _check_parts(request, parts)
    print_ = fingerprint(request, parts)
    folder = request.folder
    finished = (folder / CARD).exists() and (folder / STATS).exists()
    units = make_units(parts, unit_bytes=request.settings.unit_bytes, limit=request.limit)
    _open_plan(request, print_, num_units=len(units), finished=finished)
    if request.retry_failed:
        finished = _forget_failed(folder, units) and finished
    if finished:
        records = [record for unit in units if (record := read_record(folder, unit.number))]
        return BuildResult(
            state=BuildState.ALREADY_DONE, folder=folder, card=read_card(folder), failed=tuple(failed_rows(records))
        )
    records = sorted(_records(request, units, on_unit), key=lambda record: record.number)
    card = finish(folder, source.INFO, print_, records)
    return BuildResult(state=BuildState.BUILT, folder=folder, card=card, failed=tuple(failed_rows(records)))


def status(folder: Path) -> BuildStatus:
    """Tell how far a build is.

    Raises:
        RequestError: there is no build in the folder.
    """
    try:
        plan = json.loads((folder / RECORDS / PLAN).read_text())
    except FileNotFoundError:
        raise RequestError(f"{folder}: no build was started there") from None
    records = [record for number in range(plan["num_units"]) if (record := read_record(folder, number))]
    rows = [row for record in records for row in record.episodes]
    reasons = sorted({row.reason for row in rows if row.reason})
    return BuildStatus(
        source=folder.name,
        num_units=plan["num_units"],
        num_done=len(records),
        outcomes={outcome: sum(record.count(outcome) for record in records) for outcome in EpisodeOutcome},
        drops={reason: sum(row.reason == reason for row in rows) for reason in reasons},
        finished=(folder / CARD).exists() and (folder / STATS).exists(),
    )


def _check_parts(request: BuildRequest, parts: Sequence[Part]) -> None:
    ids = [part.id for part in parts]
    if not ids:
        raise RequestError(f"--raw {request.raw}: no data of source {request.source!r} found")
    if len(set(ids)) != len(ids):
        raise ValueError(f"source {request.source} lists a part twice")


def _open_plan(request: BuildRequest, print_: Json, *, num_units: int, finished: bool) -> None:
    path = request.folder / RECORDS / PLAN
    if path.exists():
        before = json.loads(path.read_text())["fingerprint"]
        refuse_difference(before, json.loads(json.dumps(print_)), folder=request.folder, finished=finished)
        return
    if request.folder.exists() and any(request.folder.iterdir()):
        raise RequestError(f"{request.folder} is not empty and holds no build; use another --out or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = {"fingerprint": print_, "num_units": num_units}
    write_atomically(path, json.dumps(plan, indent=1, sort_keys=True).encode() + b"\n")


def _forget_failed(folder: Path, units: Sequence[Unit]) -> bool:
    """Remove the records of units with failed episodes; tells whether there were none."""
    failed = [unit for unit in units if (record := read_record(folder, unit.number)) and failed_rows([record])]
    if failed:
        (folder / CARD).unlink(missing_ok=True)
    for unit in failed:
        record_path(folder, unit.number).unlink()
    return not failed


def _records(request: BuildRequest, units: Sequence[Unit], on_unit: Callable[[UnitDone], None]) -> Iterator[UnitRecord]:
    todo: list[Unit] = []
    num_done = 0
    for unit in units:
        if record := read_record(request.folder, unit.number):
            num_done += 1
            yield record
        else:
            todo.append(unit)
    for record in _run(request, todo):
        num_done += 1
        on_unit(UnitDone(record=record, num_done=num_done, num_units=len(units)))
        yield record


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
