"""`vita-data build` and `status`: their arguments, the progress they show, and the summary at the end."""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Never

from vita_data.cli.shared import RAW_HELP, add_reader_limits, add_source_arguments, load_asked, reader_limits
from vita_data.command.arguments import address, any_path, positive, setting, word
from vita_data.command.exits import one_line
from vita_data.command.progress import BYTES, LineTimer, add_quiet_flag, format_bytes, format_time, open_bar
from vita_data.command.tables import text_table
from vita_data.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tqdm import tqdm

    from vita_data.builder import BuildResult, Engine, Share
    from vita_data.builder.run import Started, UnitDone
    from vita_data.builder.status import BuildStatus
    from vita_data.builder.unit import Progress

_RETRY = "fix their files or download them again, then run the same command with --retry-failed"


def add_build_arguments(build: argparse.ArgumentParser) -> None:
    """Declare the arguments of `vita-data build`."""
    add_source_arguments(build, help_="source to build (see `vita-data sources`)")
    build.add_argument(
        "--raw",
        required=True,
        type=address,
        metavar="DIR",
        help=RAW_HELP,
    )
    build.add_argument(
        "--out", required=True, type=any_path, metavar="DIR", help="folder or URL where NAME/ is written"
    )
    build.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="run on this machine or on a Ray cluster"
    )
    build.add_argument("--workers", type=positive, metavar="N", help="number of processes (default: one per core)")
    add_reader_limits(build)
    build.add_argument(
        "--ray-address",
        type=word,
        metavar="HOST:PORT",
        help="Ray cluster to use (default: RAY_ADDRESS, else a local one)",
    )
    build.add_argument(
        "--rank", type=int, metavar="R", help="build only share R of --num-ranks, counted from 0 (for job arrays)"
    )
    build.add_argument(
        "--num-ranks",
        type=positive,
        metavar="N",
        help="number of shares; when all are built, run once without --rank and --num-ranks to finish",
    )
    build.add_argument(
        "--frames",
        choices=("keyframes", "all"),
        default="keyframes",
        help="images to store: one per second (pretraining) or every row (fine-tuning); default: keyframes",
    )
    build.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="build only the first N raw episodes; continue later with a larger N or without --limit",
    )
    build.add_argument("--retry-failed", action="store_true", help="build units with failed episodes again")
    build.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=VALUE",
        help="change a setting of the source (repeatable; see `vita-data sources NAME`)",
    )
    add_quiet_flag(build)


def run_build(arguments: argparse.Namespace) -> int:
    """Run `vita-data build`; return 0, or 1 if raw episodes could not be read or no clip was stored."""
    from vita_data.builder import BuildRequest, Listeners, build
    from vita_data.builder.causes import failure_lines
    from vita_data.config.settings import parse_settings
    from vita_data.normalize import FrameSelection

    source = load_asked(arguments)
    name = source.INFO.name
    settings = parse_settings(source.Settings, arguments.set, source=name)
    request = BuildRequest(
        source=name,
        source_file="" if arguments.source_file is None else str(arguments.source_file),
        raw=arguments.raw,
        out=arguments.out,
        settings=settings,
        limit=arguments.limit,
        frames=FrameSelection(arguments.frames),
        retry_failed=arguments.retry_failed,
    )
    with Display(name, quiet=arguments.quiet) as display:
        listeners = Listeners(on_start=display.start, on_unit=display.unit, on_progress=display.progress)
        result = build(request, engine=_engine(arguments), share=_share(arguments), listeners=listeners)
    if arguments.json:
        print(json.dumps(_as_json(result), indent=1, sort_keys=True))
    else:
        print("\n".join([f"{result.folder}: {_state(result)}", *_summary(result), *display.rate()]))
    retry = f"{len(result.failed)} episodes failed; {_RETRY}" if result.failed and not result.nothing else ""
    for line in (*failure_lines(result.failed), *filter(None, [retry, result.nothing])):
        print(f"vita-data build: {name}: {one_line(line)}", file=sys.stderr)
    return 1 if result.failed or result.nothing else 0


def _as_json(result: "BuildResult") -> dict[str, object]:
    failed = [{"id": row.id, "part": row.part, "detail": row.detail} for row in result.failed]
    found: dict[str, object] = {"state": result.state, "card": result.card, "failed": failed}
    found |= {"nothing": result.nothing} if result.nothing else {}
    return found | ({} if result.unread is None else {"unread": result.unread.as_json()})


def _engine(arguments: argparse.Namespace) -> "Engine":
    from vita_data.builder import LocalEngine, RayEngine

    limits = reader_limits(arguments)
    if arguments.engine == "ray":
        return RayEngine(workers=arguments.workers, address=arguments.ray_address, limits=limits)
    if arguments.ray_address:
        raise RequestError("--ray-address needs --engine ray")
    return LocalEngine(workers=arguments.workers or os.cpu_count() or 1, limits=limits)


def _share(arguments: argparse.Namespace) -> "Share | None":
    from vita_data.builder import Share

    if (arguments.rank is None) != (arguments.num_ranks is None):
        raise RequestError("--rank and --num-ranks must be given together")
    return None if arguments.rank is None else Share(rank=arguments.rank, num_ranks=arguments.num_ranks)


class Display:
    """Shows the progress of a build: a bar over the raw bytes on a terminal, else a line per unit or half a minute."""

    def __init__(self, source: str, *, quiet: bool = False) -> None:
        self._source, self._quiet = source, quiet
        self._started_s, self._timer = time.monotonic(), LineTimer()
        self._bar: tqdm[Never] | None = None
        self._lock = threading.Lock()
        self._num_episodes = self._num_frames = self._num_bytes = 0
        self._num_done = self._num_units = self._left_bytes = 0

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, started: "Started") -> None:
        """Start the display with what an earlier run has done."""
        self._started_s = time.monotonic()
        self._timer.restart()
        self._num_done, self._num_units = started.num_done, started.num_units
        self._left_bytes = started.num_bytes - started.num_bytes_done
        if sys.stderr.isatty() and not self._quiet:
            self._bar = open_bar(self._source, total=started.num_bytes, done=started.num_bytes_done, unit=BYTES)

    def progress(self, progress: "Progress") -> None:
        """Add what was done since the last report."""
        with self._lock:
            self._num_episodes += progress.num_episodes
            self._num_frames += progress.num_frames
            self._num_bytes += progress.num_bytes
            if self._bar is not None:
                self._bar.set_postfix_str(f"{self._num_episodes} episodes, {self._num_frames} frames", refresh=False)
                self._bar.update(progress.num_bytes)
            elif self._timer.is_due():
                self._tell("")

    def unit(self, done: "UnitDone") -> None:
        """Show that a unit is committed."""
        from vita_data.types import EpisodeOutcome

        with self._lock:
            self._num_done = done.num_done
            if self._bar is None:
                counts = ", ".join(f"{done.record.count(outcome)} {outcome}" for outcome in EpisodeOutcome)
                self._tell(f": {counts}")

    def _tell(self, counts: str) -> None:
        if self._quiet:
            return
        self._timer.restart()
        span_s = max(time.monotonic() - self._started_s, 1e-3)
        line = f"{self._source}: unit {self._num_done}/{self._num_units}{counts}; "
        line += f"{self._num_episodes} episodes read, {self._num_episodes / span_s:.1f} episodes/s"
        # A unit may be reported before all progress reports of its reading have arrived.
        left_bytes = self._left_bytes - self._num_bytes
        if self._num_done < self._num_units and self._num_bytes and left_bytes > 0:
            line += f", {format_time(span_s * left_bytes / self._num_bytes)} left"
        print(line, file=sys.stderr, flush=True)

    def rate(self) -> list[str]:
        """Return how fast this run was; empty if it built nothing."""
        span_s = max(time.monotonic() - self._started_s, 1e-3)
        if not self._num_episodes:
            return []
        per_s = f"{self._num_episodes / span_s:.1f} episodes/s, {self._num_frames / span_s:.0f} frames/s"
        read = f"{format_bytes(self._num_bytes / span_s)}/s of raw data"
        return [f"  rate: {self._num_episodes} episodes in {format_time(span_s)}: {per_s}, {read}"]


def _limited(limit: object) -> str:
    return "" if limit is None else f", limited to the first {limit} raw episodes (--limit {limit})"


def _state(result: "BuildResult") -> str:
    limit = None if result.card is None else result.card["limit"]
    return ("finished, nothing stored" if result.nothing else str(result.state)) + _limited(limit)


def _summary(result: "BuildResult") -> list[str]:
    card = result.card
    if card is None:
        return ["  this share is built; when all shares are, run the same command without --rank and --num-ranks"]
    lines = [] if result.nothing or not isinstance(card["counts"], dict) else _table(card["counts"])
    for title in ("outcomes", "drops"):
        counts = card[title]
        if isinstance(counts, dict) and counts:
            lines.append(f"  {title}: {_counted(counts)}")
    shards = card["shards"]
    listed = [shard for split in shards.values() for shard in split] if isinstance(shards, dict) else []
    lines.append(f"  size: {format_bytes(sum(shard['num_bytes'] for shard in listed))} in {len(listed)} shards")
    if not card["redistributable"]:
        lines.append(f"  licence: {card['licence']}: these shards must not be redistributed")
    if result.unread is not None and (told := result.unread.line()):
        lines.append(f"  {told}")
    return lines


def _counted(counts: "Mapping[str, Any]") -> str:
    """Format counts by name, the largest first; drop codes are followed by their meaning."""
    from vita_data.builder.drops import DROPS
    from vita_data.types import Reason

    meanings = {str(code): f" ({DROPS[code].meaning})" for code in Reason}
    return ", ".join(f"{name}{meanings.get(name, '')} {count}" for name, count in Counter(counts).most_common())


def _table(counts: "dict[str, dict[str, dict[str, int]]]") -> list[str]:
    # A card that was read back has its keys in another order than a new one.
    columns = ("episodes", "clips", "steps", "frames")
    rows = [["split", "modality", *columns]]
    for split, modalities in counts.items():
        rows += [[split, name, *(str(found[column]) for column in columns)] for name, found in modalities.items()]
    return [f"  {line}" for line in text_table(rows, "llr")]


def run_status(arguments: argparse.Namespace) -> int:
    """Run `vita-data status`."""
    from vita_data.builder import status

    found = status(arguments.folder)
    print(json.dumps(asdict(found), indent=1, sort_keys=True) if arguments.json else "\n".join(_status_lines(found)))
    return 0


def _status_lines(found: "BuildStatus") -> list[str]:
    state = "finished" if found.finished else "under way or stopped"
    state += _limited(found.limit)
    lines = [f"{found.source}: {state}, {found.num_done} of {found.num_units} units"]
    for name, counts in (("outcomes", found.outcomes), ("drops", found.drops)):
        lines.append(f"  {name}: " + (_counted(counts) or "none"))
    lines.append(f"  size: {found.num_frames} frames, {format_bytes(found.num_bytes)}")
    if found.num_units_under_way:
        of_all = "" if found.num_episodes_expected is None else f" of {found.num_episodes_expected}"
        told = "" if found.reported_s is None else f"; last report {format_time(found.reported_s)} ago"
        read = f"{found.num_episodes_under_way}{of_all} episodes read"
        lines.append(f"  units under way: {found.num_units_under_way}, {read}{told}")
    if found.episodes_per_s is not None:
        left = "" if found.finished or found.left_s is None else f", {format_time(found.left_s)} left at this pace"
        lines.append(f"  rate: {found.episodes_per_s:.1f} episodes/s over the last units{left}")
    return lines
