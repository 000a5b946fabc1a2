"""The report of `vita-bench loader`: figures and targets, as Markdown or JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter

from pipelines.bench.build.report import Machine, markdown_table, number_text, yes_or_no
from pipelines.bench.loader.contestants import LIMIT, OURS, Absent
from pipelines.bench.loader.drive import Turn
from pipelines.bench.loader.open_index import IndexFigures
from pipelines.bench.loader.rounds import Entry
from pipelines.bench.loader.sizes import LoaderSizes

CPU: Callable[[Turn], float] = attrgetter("cpu_ms")
RATE: Callable[[Turn], float] = attrgetter("rate")
_SLOW_PEERS = ("webdataset", "mosaicml-streaming", "megatron-energon")
_TWO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A figure with a target."""

    what: str
    found: float | None
    """None if the other loader is absent."""
    target: float
    at_least: bool
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target was reached; None if that is unknown."""
        if self.found is None:
            return None
        return self.found >= self.target if self.at_least else self.found <= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderReport:
    """All results of one run."""

    machine: Machine
    sizes: LoaderSizes
    entries: tuple[Entry, ...]
    absent: tuple[Absent, ...]
    index: IndexFigures
    """Figures of a process that does not import torch."""
    index_torch: IndexFigures
    """Figures of a process that imports torch and the loader, as in training."""

    @property
    def checks(self) -> list[Check]:
        """All targets."""
        return [*_cpu_checks(self.entries), *_rate_checks(self.entries), *_index_checks(self)]

    @property
    def is_met(self) -> bool:
        """Tell whether every target that could be checked was reached."""
        return all(check.is_met is not False for check in self.checks)


def _cpu_checks(entries: Sequence[Entry]) -> list[Check]:
    ours, limit = _entry(entries, OURS), _entry(entries, LIMIT)
    sides = [(LIMIT, limit, 1.15), *((name, _entry(entries, name), 0.7) for name in _SLOW_PEERS)]
    return [
        Check(
            what=f"CPU time per sample, ours relative to {name}",
            found=None if ours is None or other is None else ours.ratio(other, CPU),
            target=target,
            at_least=False,
        )
        for name, other, target in sides
    ]


def _rate_checks(entries: Sequence[Entry]) -> list[Check]:
    ours, limit = _entry(entries, OURS, workers=_TWO), _entry(entries, LIMIT, workers=_TWO)
    found = [entry for entry in entries if entry.contestant.is_peer]
    best = max(found, key=lambda entry: entry.median(RATE), default=None)
    name = "the best peer" if best is None else f"the best peer ({best.name})"
    sides = [(f"{LIMIT} on two threads", limit, 0.9), (name, best, 1.8)]
    return [
        Check(
            what=f"samples per second, ours on two threads relative to {name}",
            found=None if ours is None or other is None else ours.ratio(other, RATE),
            target=target,
            at_least=True,
        )
        for name, other, target in sides
    ]


def _index_checks(report: LoaderReport) -> list[Check]:
    spec, index = report.sizes.index, report.index
    size = f"{spec.num_clips:,} clips, {spec.num_frames:,} frames"
    plan = f"{size}: plan of {report.sizes.index_batch} samples, median"
    return [
        Check(what=f"{size}: opened", found=index.open_s, target=10, at_least=False, unit="s"),
        Check(what=f"{size}: private memory", found=index.private_mb, target=300, at_least=False, unit="MB"),
        Check(what=plan, found=index.plan_ms, target=20, at_least=False, unit="ms"),
    ]


def _entry(entries: Sequence[Entry], name: str, *, workers: int | None = None) -> Entry | None:
    """Find a contestant with this number of workers, or with its fewest."""
    mine = [entry for entry in entries if entry.contestant.name == name and workers in (None, entry.workers)]
    if workers is None:
        mine = [entry for entry in mine if entry.workers == min(entry.contestant.workers)]
    return mine[0] if mine else None


def as_json(report: LoaderReport) -> dict[str, object]:
    """Give a report as JSON values, without paths."""
    return {
        "machine": asdict(report.machine),
        "sizes": asdict(report.sizes),
        "entries": [
            {
                "name": entry.contestant.name,
                "workers": entry.workers,
                "is_peer": entry.contestant.is_peer,
                "num_bytes": entry.contestant.num_bytes,
                "cpu_ms": entry.median(CPU),
                "samples_per_s": entry.median(RATE),
                "turns": [asdict(turn) for turn in entry.turns],
            }
            for entry in report.entries
        ],
        "absent": [asdict(one) for one in report.absent],
        "index": asdict(report.index),
        "index_torch": asdict(report.index_torch),
        "checks": [{**asdict(check), "is_met": check.is_met} for check in report.checks],
        "is_met": report.is_met,
    }


def as_markdown(report: LoaderReport) -> str:
    """Format a report as tables and a description of the machine."""
    sizes, machine = report.sizes, report.machine
    titles = ["loader", "CPU ms per sample", "relative to raw decode", "samples per second", "first batch", "data"]
    index_titles = ["index", "opened in", "private memory", "of which imports", "planning a batch", "worst case"]
    indexes = [("no torch imported", report.index), ("with torch and the loader imported", report.index_torch)]
    return "\n".join(
        [
            *markdown_table(titles, [*_loader_rows(report), *_absent_rows(report, width=len(titles))]),
            "",
            *markdown_table(index_titles, [_index_row(name, figures) for name, figures in indexes]),
            "",
            *markdown_table(["target", "measured", "required", "met"], [_check_row(check) for check in report.checks]),
            "",
            f"{machine.num_cores} cores ({machine.processor}), Python {machine.python}. {sizes.num_rounds} rounds, in "
            f"which the loaders take turns; each turn is a new process that loads {sizes.num_batches} batches of "
            f"{sizes.batch_size} after {sizes.num_warm + 1} warm-up batches, with all files in the page cache. Figures "
            "are medians; a ratio is the median of the rounds' ratios. A sample is two 256x256 JPEGs and 16 actions; "
            "the first batch of every turn is verified pixel by pixel. CPU time is user and system time of all "
            "processes, with the fewest threads or workers. Samples per second, by number of threads (raw decode, "
            "vita) or worker processes (peers): median (lowest to highest).",
            "",
            f"Generated data: {sizes.clips.num_clips} clips of {sizes.clips.num_steps} frames, and an index of "
            f"{sizes.index.num_clips:,} clips and {sizes.index.num_frames:,} frames.",
        ]
    )


def _loader_rows(report: LoaderReport) -> list[list[str]]:
    names = list(dict.fromkeys(entry.contestant.name for entry in report.entries))
    return [_loader_row([one for one in report.entries if one.contestant.name == name], report) for name in names]


def _loader_row(mine: Sequence[Entry], report: LoaderReport) -> list[str]:
    first, limit = mine[0], _entry(report.entries, LIMIT)
    rates = [f"{entry.workers}: {_spread([turn.rate for turn in entry.turns])}" for entry in mine]
    one = first if first.workers == min(first.contestant.workers) else None
    return [
        f"{first.contestant.name} {first.turns[0].version}" if first.contestant.is_peer else first.contestant.name,
        "" if one is None else f"{one.median(CPU):.2f}",
        "" if one is None or limit is None else f"{one.ratio(limit, CPU):.2f}",
        "; ".join(rates),
        f"{first.median(attrgetter('start_s')):.1f} s",
        f"{first.contestant.num_bytes / 1e6:,.0f} MB",
    ]


def _spread(rates: Sequence[float]) -> str:
    ordered = sorted(rates)
    middle = number_text(ordered[len(ordered) // 2])
    return middle if len(ordered) == 1 else f"{middle} ({number_text(ordered[0])} to {number_text(ordered[-1])})"


def _absent_rows(report: LoaderReport, *, width: int) -> list[list[str]]:
    return [[one.name, f"absent: {one.why}", *[""] * (width - 2)] for one in report.absent]


def _index_row(name: str, figures: IndexFigures) -> list[str]:
    return [
        name,
        f"{figures.open_s:.2f} s",
        f"{figures.private_mb:,.0f} MB",
        f"{figures.imports_mb:,.0f} MB",
        f"{figures.plan_ms:.1f} ms",
        f"{figures.worst_plan_ms:.1f} ms",
    ]


def _check_row(check: Check) -> list[str]:
    unit = f" {check.unit}" if check.unit else ""
    found = "absent" if check.found is None else f"{check.found:.3g}{unit}"
    asked = f"{'at least' if check.at_least else 'at most'} {check.target:g}{unit}"
    return [check.what, found, asked, yes_or_no(met=check.is_met)]
