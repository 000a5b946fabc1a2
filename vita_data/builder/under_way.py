"""Reports what a unit in progress has done so far: a small file beside the records, used only by `vita-data status`.

No build depends on it, so it is not synced, and errors when writing it are ignored.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.formats.json_text import parse_json
from vita_data.shards.index import RECORDS
from vita_data.storage.files import AnyPath, list_files, remove

if TYPE_CHECKING:
    from vita_data.builder.plan import Unit
    from vita_data.builder.unit import OnProgress, Progress

SUFFIX = ".progress"
_REPORT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """How many raw episodes of a unit were read so far."""

    num_episodes: int
    num_expected: int | None
    """Raw episodes of the whole unit; None if not known before reading."""


@contextmanager
def reported(folder: AnyPath, unit: "Unit", on_progress: "OnProgress") -> Iterator["OnProgress"]:
    """Keep a unit's file up to date while the `with` block runs, at most every two seconds; not on object stores."""
    if not isinstance(folder, Path):
        yield on_progress
        return
    path = _path(folder, unit.number)
    num_episodes, told_s = 0, time.monotonic()

    def report(progress: "Progress") -> None:
        nonlocal num_episodes, told_s
        num_episodes += progress.num_episodes
        if time.monotonic() - told_s >= _REPORT_EVERY_S:
            told_s = time.monotonic()
            found = UnderWay(num_episodes=num_episodes, num_expected=_num_expected(unit))
            with suppress(OSError):
                path.write_text(json.dumps(asdict(found)))
        on_progress(progress)

    try:
        yield report
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_under_way(folder: AnyPath, numbers: Sequence[int]) -> tuple[list[UnderWay], float | None]:
    """Read the reports of these units, and when the last one was written (seconds since 1970; None: never)."""
    if not isinstance(folder, Path):
        return [], None
    there = list_files(folder / RECORDS)
    known = [path for number in numbers if (path := _path(folder, number)).name in there]
    found: list[UnderWay] = []
    for path in known:
        # The file is deleted when its unit is committed, and is empty for a moment while it is rewritten.
        with suppress(OSError, ValueError, TypeError):
            found.append(UnderWay(**parse_json(path.read_text())))
    return found, max((there[path.name].mtime_s for path in known), default=None)


def remove_reports(folder: AnyPath, numbers: Sequence[int] | None = None) -> None:
    """Remove the files that killed runs of these units left; None: of all units."""
    if not isinstance(folder, Path):
        return
    wanted = None if numbers is None else {_path(folder, number).name for number in numbers}
    for name in list_files(folder / RECORDS):
        if name.endswith(SUFFIX) and (wanted is None or name in wanted):
            remove(folder / RECORDS / name)


def _path(folder: Path, number: int) -> Path:
    return folder / RECORDS / f"unit-{number:06d}{SUFFIX}"


def _num_expected(unit: "Unit") -> int | None:
    known = [planned.part.num_episodes for planned in unit.parts if planned.part.num_episodes is not None]
    if len(known) < len(unit.parts):
        return None
    return sum(known) if unit.limit is None else min(unit.limit, sum(known))
