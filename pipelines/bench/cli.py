"""The `vita-bench` command and its verbs."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.command.arguments import local_path
from vita_data.command.exits import OneLineParser, exit_code
from vita_data.storage.files import require_no_file
from vita_data.storage.scratch import scratch_folder

if TYPE_CHECKING:
    from pipelines.bench.build.report import Report
    from pipelines.bench.build.sizes import Sizes

# Verbs import what they need when they run, so that `--help` and errors in arguments are fast.
_MODEL_VERBS: Mapping[str, str] = {
    "latency": "measure inference latency by model part and chunk length",
    "serve": "load-test vita-serve and compare with in-process inference",
    "train": "measure the time of training steps",
}
"""Summary of each verb; each has its own parser."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vita-bench` and return its exit code: 0 done, 1 failed or (--strict) missed target, 2 invalid request."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in _MODEL_VERBS:
        return _run_model_verb(argv[0], argv[1:])
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    remedy = "fix this and run the same command again"
    return exit_code(f"vita-bench {arguments.name}", lambda: verb(arguments), interrupted="interrupted", remedy=remedy)


def _run_model_verb(name: str, argv: Sequence[str]) -> int:
    """Run a verb of the model, whose modules are slow to import."""
    from pipelines.bench.model import cli

    verbs: Mapping[str, Callable[[Sequence[str]], int]] = {
        "latency": cli.latency,
        "serve": cli.serve,
        "train": cli.train,
    }
    return verbs[name](argv)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="vita-bench", description="Run benchmarks; each reports the hardware limit measured in the same run."
    )
    verbs = parser.add_subparsers(dest="name", required=True, metavar="VERB")
    summary = "measure building shards from raw data (video, RLDS, HDF5, npz) and its peak memory"
    build = verbs.add_parser("build", help=summary, description=summary)
    build.set_defaults(verb=_build)
    summary = "measure loading batches, against plain decoding and other loaders, and an index of a million clips"
    loader = verbs.add_parser("loader", help=summary, description=summary)
    loader.set_defaults(verb=_loader)
    summary = "measure reading shards from a distant object store, and by many ranks"
    store = verbs.add_parser("store", help=summary, description=summary)
    store.set_defaults(verb=_store)
    for name, summary in _MODEL_VERBS.items():
        verbs.add_parser(name, help=summary)
    for verb in (build, loader, store):
        verb.add_argument(
            "--quick",
            action="store_true",
            help="use tiny sizes to check that everything runs; the figures mean nothing",
        )
        verb.add_argument("--dir", type=local_path, metavar="DIR", help="folder to keep generated data in, for reuse")
        verb.add_argument("--strict", action="store_true", help="exit with code 1 if a target was missed")
        verb.add_argument("--json", action="store_true", help="print only JSON to stdout")
    peers = "virtual environment with the other loaders (default: .venv-peers, made by pipelines/bench_peers.sh)"
    loader.add_argument("--peers", type=local_path, metavar="DIR", help=peers)
    return parser


def _loader(arguments: argparse.Namespace) -> int:
    from pipelines.bench.loader.contestants import REPOSITORY
    from pipelines.bench.loader.report import as_json, as_markdown
    from pipelines.bench.loader.sizes import FULL, QUICK
    from pipelines.bench.loader.verb import measure_loader

    if arguments.dir is not None:
        require_no_file(arguments.dir, "--dir")
    environment = arguments.peers or REPOSITORY / ".venv-peers"
    with _folder(arguments.dir) as base:
        report = measure_loader(
            QUICK if arguments.quick else FULL,
            base=base,
            environment=environment.absolute(),
            tell=lambda what: _tell("loader", what),
        )
    print(json.dumps(as_json(report), indent=1) if arguments.json else as_markdown(report))
    return 1 if arguments.strict and not report.is_met else 0


def _store(arguments: argparse.Namespace) -> int:
    from pipelines.bench.store.report import as_json, as_markdown
    from pipelines.bench.store.sizes import FULL, QUICK
    from pipelines.bench.store.verb import measure_store

    if arguments.dir is not None:
        require_no_file(arguments.dir, "--dir")
    with _folder(arguments.dir) as base:
        sizes = QUICK if arguments.quick else FULL
        report = measure_store(sizes, base=base, tell=lambda what: _tell("store", what))
    print(json.dumps(as_json(report), indent=1) if arguments.json else as_markdown(report))
    return 1 if arguments.strict and not report.is_met else 0


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Give the folder for generated data; by default a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
    else:
        with scratch_folder("vita-bench-") as folder:
            yield folder


def _build(arguments: argparse.Namespace) -> int:
    from pipelines.bench.build.report import as_json, as_markdown
    from pipelines.bench.build.sizes import FULL, QUICK

    sizes = QUICK if arguments.quick else FULL
    if arguments.dir is not None:
        require_no_file(arguments.dir, "--dir")
        arguments.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="scratch-") as scratch:
        report = _measure_build(sizes, base=arguments.dir or Path(scratch), scratch=Path(scratch))
    print(json.dumps(as_json(report), indent=1) if arguments.json else as_markdown(report))
    return 1 if arguments.strict and not report.is_met else 0


def _measure_build(sizes: "Sizes", *, base: Path, scratch: Path) -> "Report":
    from pipelines.bench.build.measure import run_contest
    from pipelines.bench.build.memory import measure_peak
    from pipelines.bench.build.report import Report, this_machine
    from pipelines.bench.build.verb import contests, memory_runs, prepare_workloads

    _tell("build", "generating data")
    workloads = prepare_workloads(base, sizes)
    rows, peaks = [], []
    for contest in contests(workloads, sizes, scratch):
        _tell("build", contest.what)
        rows += run_contest(contest, num_rounds=sizes.num_rounds)
    for what, run in memory_runs(workloads, scratch):
        _tell("build", f"memory: {what}")
        peaks.append(measure_peak(what, run))
    return Report(
        machine=this_machine(),
        num_rounds=sizes.num_rounds,
        rows=tuple(rows),
        peaks=tuple(peaks),
        workloads=workloads.all(),
    )


def _tell(verb: str, what: str) -> None:
    print(f"vita-bench {verb}: {what}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
