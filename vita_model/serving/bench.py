"""`vita-bench serve`: the table of `vita_model.serving.load`, and the command."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.exits import OneLineParser, exit_code
from vita_data.storage import write_atomically
from vita_model.presets import PRESETS
from vita_model.serving.load import SIDE, Figures, LoadReport, LoadSpec, measure_load


def as_markdown(report: LoadReport) -> str:
    """Lay a report out as a table."""
    lines = [
        f"{report.policy} on {report.device} ({report.num_cores} cores), {report.num_views} views of {SIDE}x{SIDE}, "
        f"{report.num_requests} requests a row; {report.client}, its threads in a process beside the server's",
        "",
        "| clients | requests/s | p50 | p95 | p99 | the policy alone, p50 | of the requests/s in process |",
        "|---|---|---|---|---|---|---|",
        _line("in process", report.in_process, 1.0),
        *(_line(str(row.num_clients), row.figures, row.ratio) for row in report.rows),
        "",
        f"Served actions differ from those in process by {report.largest_difference:.1e} at most.",
    ]
    return "\n".join(lines)


def _line(who: str, figures: Figures, ratio: float) -> str:
    latencies = (
        f"{time_ms:,.1f} ms" for time_ms in (figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.policy_ms)
    )
    return f"| {who} | {figures.requests_per_s:,.1f} | {' | '.join(latencies)} | {ratio:.2f} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vita-bench serve`; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code("vita-bench serve", lambda: _run(arguments), interrupted="interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="vita-bench serve",
        description="Load vita-serve with clients; its rate and latencies beside the same policy called in process.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--preset", help=f"drawn weights of a size: {', '.join(PRESETS)} (default tiny)")
    what.add_argument("--policy", type=Path, metavar="RUN", help="a run, one of its checkpoints, or what export wrote")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=(1, 4, 16), metavar="N", help="at once (default 1 4 16)"
    )
    parser.add_argument(
        "--requests", type=int, default=400, metavar="N", help="that are timed, of each row (default 400)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON, too")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, nothing else")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    spec = LoadSpec(
        preset=arguments.preset or LoadSpec().preset, policy=arguments.policy, clients=tuple(arguments.clients),
        num_requests=arguments.requests, device=arguments.device,
    )  # fmt: skip
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise RequestError(f"--out {arguments.out}: {arguments.out.parent} is no folder; make it")
    report = measure_load(spec)
    text = json.dumps(asdict(report), indent=1)
    if arguments.out is not None:
        write_atomically(arguments.out, text.encode())
    print(text if arguments.json else as_markdown(report))


if __name__ == "__main__":
    sys.exit(main())
