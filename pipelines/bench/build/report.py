"""Reports of measurements as Markdown tables or JSON."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import av

from pipelines.bench.build.measure import Measurement
from pipelines.bench.build.memory import Peak
from pipelines.bench.build.workload import Workload, describe


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine and software versions that figures depend on."""

    num_cores: int
    processor: str
    python: str
    pyav: str
    ffmpeg: str
    """Versions of PyAV's FFmpeg libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All results of one run of a verb."""

    machine: Machine
    num_rounds: int
    rows: tuple[Measurement, ...]
    peaks: tuple[Peak, ...]
    workloads: tuple[Workload, ...]

    @property
    def is_met(self) -> bool:
        """Tell whether every target was reached."""
        return all(row.is_met is not False for row in self.rows) and all(peak.is_met for peak in self.peaks)


def this_machine() -> Machine:
    """Describe this machine; `num_cores` counts the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    libraries = ("libavcodec", "libswscale")
    return Machine(
        num_cores=cores,
        processor=platform.machine(),
        python=platform.python_version(),
        pyav=av.__version__,
        ffmpeg=", ".join(f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in libraries),
    )


def as_json(report: Report) -> dict[str, object]:
    """Give a report as JSON values."""
    return {
        "machine": asdict(report.machine),
        "num_rounds": report.num_rounds,
        "rows": [{**asdict(row), "is_met": row.is_met} for row in report.rows],
        "peaks": [{**asdict(peak), "is_met": peak.is_met} for peak in report.peaks],
        "workloads": [describe(workload) for workload in report.workloads],
        "is_met": report.is_met,
    }


def as_markdown(report: Report) -> str:
    """Format a report as two tables and a description of the machine."""
    rows = [_row(row) for row in report.rows]
    peaks = [
        [peak.what, f"{peak.peak_mb:,.0f} MB", f"{peak.limit_mb:,.0f} MB", yes_or_no(met=peak.is_met)]
        for peak in report.peaks
    ]
    machine = report.machine
    used = "; ".join(
        f"{workload.name} {workload.num_frames:,} frames, {workload.num_mb:,.1f} MB" for workload in report.workloads
    )
    return "\n".join(
        [
            *markdown_table(["what", "ours", "limit or peer", "ratio", "target", "met"], rows),
            "",
            *markdown_table(["one worker", "peak memory", "limit", "met"], peaks),
            "",
            f"{machine.num_cores} cores ({machine.processor}), Python {machine.python}, PyAV {machine.pyav} "
            f"({machine.ffmpeg}). {report.num_rounds} rounds, taking turns; rates are medians, and a ratio is the "
            "median of the rounds' ratios (above 1: ours is faster). CPU seconds are user and system time, including "
            "child processes.",
            "",
            f"Generated data: {used}.",
        ]
    )


def _row(row: Measurement) -> list[str]:
    same = {None: "", True: ", same pixels", False: ", DIFFERENT PIXELS"}[row.same_pixels]
    other = "absent" if row.other_rate is None else number_text(row.other_rate)
    return [
        row.what,
        f"{number_text(row.our_rate)} {row.unit}",
        f"{row.other}: {other}{same}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.target is None else f"{row.target:g}",
        yes_or_no(met=row.is_met),
    ]


def number_text(value: float) -> str:
    """Format a figure with three significant digits, or as an integer if it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def yes_or_no(*, met: bool | None) -> str:
    """Format whether a target was met; empty without a target."""
    return {None: "", True: "yes", False: "no"}[met]


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table as lines."""
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
