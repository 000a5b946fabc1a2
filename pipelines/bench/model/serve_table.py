"""The table of `vita-bench serve`, from the results of `pipelines.bench.model.load_test`."""

from pipelines.bench.model.load_test import SIDE, Figures, LoadReport


def as_markdown(report: LoadReport) -> str:
    """Format a report as a table."""
    lines = [
        f"{report.policy} on {report.device} ({report.num_cores} cores), {report.num_views} views of {SIDE}x{SIDE}, "
        f"{report.num_requests} requests per row; {report.client}, threads in a separate process from the server",
        "",
        "| clients | batch | requests/s | p50 | p95 | p99 | policy only, p50 | requests/s relative to in-process |",
        "|---|---|---|---|---|---|---|---|",
        _line("in process | 1", report.in_process, 1.0),
        *(_line(f"{row.num_clients} | {row.max_batch}", row.figures, row.ratio) for row in report.rows),
        "",
        f"Served actions differ from in-process actions by at most {report.largest_difference:.1e}.",
    ]
    return "\n".join(lines)


def _line(who: str, figures: Figures, ratio: float) -> str:
    latencies = (
        f"{time_ms:,.1f} ms" for time_ms in (figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.policy_ms)
    )
    return f"| {who} | {figures.requests_per_s:,.1f} | {' | '.join(latencies)} | {ratio:.2f} |"
