"""The report of `vita-bench store` as Markdown or JSON."""

from dataclasses import asdict, dataclass

from pipelines.bench.build.report import Machine, markdown_table
from pipelines.bench.store.ranges import OBSTORE, S3FS, RangeFigures
from pipelines.bench.store.sizes import StoreSizes

TARGET = 10.0
"""How much less CPU a range must take than through s3fs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Many ranks whose steps take a given time without data."""

    where: str
    step_s: float
    data_s: float
    """Time that the slowest rank needed for a step beyond `step_s`."""
    waiting: float
    """Share of the time in which ranks waited for data."""
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """All results of a run."""

    machine: Machine
    sizes: StoreSizes
    ranges: tuple[RangeFigures, ...]
    paces: tuple[Pace, ...]

    @property
    def cpu_ratio(self) -> float:
        """How often the CPU time of a range through obstore fits in that through s3fs, at the most connections."""
        most = max(one.connections for one in self.ranges)
        cpu = {one.client: one.cpu_us for one in self.ranges if one.connections == most}
        return cpu[S3FS] / cpu[OBSTORE]

    @property
    def is_met(self) -> bool:
        """Tell whether the target was reached."""
        return self.cpu_ratio >= TARGET

    @property
    def bounds(self) -> dict[str, float]:
        """Give the step time below which data is the bound, by where it is read from."""
        return {one.where: one.data_s for one in self.paces if one.step_s == 0}


def as_json(report: StoreReport) -> dict[str, object]:
    """Give a report as JSON values."""
    found = {"cpu_ratio": report.cpu_ratio, "bounds_s": report.bounds, "is_met": report.is_met}
    return {**asdict(report), **found}


def as_markdown(report: StoreReport) -> str:
    """Format a report as two tables, each followed by what it says."""
    sizes = report.sizes
    clients = [
        [one.client, str(one.connections), f"{one.ranges_per_s:,.0f}", f"{one.connections / sizes.latency_s:,.0f}",
         f"{one.cpu_us:,.0f}"]
        for one in report.ranges
    ]  # fmt: skip
    paces = [
        [one.where, f"{one.step_s:.2f} s", f"{one.samples_per_s:,.0f}", f"{one.waiting:.0%}"] for one in report.paces
    ]
    bounds = ", ".join(f"{seconds:.2f} s ({where})" for where, seconds in report.bounds.items())
    return "\n".join([
        *markdown_table(["client", "connections", "ranges a second", "limit of the store", "CPU us a range"], clients),
        "",
        f"The store answers each request of {sizes.range_bytes:,} bytes after {sizes.latency_s * 1e3:.0f} ms. A range "
        f"takes {report.cpu_ratio:.1f} times less CPU than through s3fs (target {TARGET:g}).",
        "",
        *markdown_table(["read from", "time of a step", "samples a second", "waiting for data"], paces),
        "",
        f"{sizes.num_ranks} ranks share {report.machine.num_cores} cores and {sizes.batch_size} samples a step, "
        f"{sizes.threads} threads each. Data is the bound where a step is shorter than {bounds}.",
    ])  # fmt: skip
