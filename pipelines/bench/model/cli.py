"""The verbs `vita-bench train`, `latency` and `serve`; torch is imported only when one runs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from pipelines.bench.model.specs import LatencySpec, LoadSpec, StepPart, Trial
from vita_data.command.arguments import local_path, positives, setting, word
from vita_data.command.exits import OneLineParser, exit_code
from vita_data.errors import RequestError
from vita_data.storage.files import write_atomically
from vita_data.types import Modality
from vita_model.devices import device
from vita_model.training.checkpoint.run_folder import find_policy
from vita_model.training.recipes.load import load_recipe
from vita_model.training.recipes.override import override
from vita_model.training.recipes.presets import PRESETS
from vita_model.training.recipes.recipe import Precision, resolved


def train(argv: Sequence[str] | None = None) -> int:
    """Measure training steps; returns the exit code."""
    arguments = train_parser().parse_args(argv)
    return exit_code("vita-bench train", lambda: _train(arguments), interrupted="interrupted")


def train_parser() -> OneLineParser:
    """Make the parser of `vita-bench train`."""
    parser = OneLineParser(
        prog="vita-bench train", description="Measure training steps against the time their arithmetic needs at least."
    )
    parser.add_argument(
        "recipe", type=local_path, metavar="RECIPE.py", help="Python file that defines recipe() -> Recipe, or its name"
    )
    parser.add_argument("--batch-size", type=int, default=2, metavar="N", help="samples per batch (default: 2)")
    parser.add_argument(
        "--steps", type=int, default=5, metavar="N", help="timed steps; 0 times one cold step (default: 5)"
    )
    parser.add_argument(
        "--part", choices=list(StepPart), default="all", help="which part of a step to run (default: all)"
    )
    parser.add_argument(
        "--weights", choices=list(Precision), default="fp32", help="number format of the weights (default: fp32)"
    )
    parser.add_argument("--modality", choices=list(Modality), help="only batches of this modality (default: all)")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", type=setting, metavar="KEY=VALUE",
        help="override a recipe field, as in vita-train",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")
    return parser


def _train(arguments: argparse.Namespace) -> None:
    recipe = resolved(override(load_recipe(arguments.recipe), arguments.settings))
    trial = Trial(
        batch_size=arguments.batch_size,
        num_steps=arguments.steps,
        part=StepPart(arguments.part),
        weights=Precision(arguments.weights),
        modality=None if arguments.modality is None else Modality(arguments.modality),
    )

    from pipelines.bench.model.train import as_markdown, measure_training
    from vita_model.distributed import joined_ranks

    with joined_ranks() as ranks:
        report = measure_training(recipe, ranks, trial)
    rows = [{**asdict(row), "mfu": row.mfu} for row in report.rows]
    print(json.dumps({**asdict(report), "rows": rows}, indent=1) if arguments.json else as_markdown(report))


def latency(argv: Sequence[str] | None = None) -> int:
    """Measure inference latency; returns the exit code."""
    arguments = latency_parser().parse_args(argv)
    return exit_code("vita-bench latency", lambda: _latency(arguments), interrupted="interrupted")


def latency_parser() -> OneLineParser:
    """Make the parser of `vita-bench latency`."""
    parser = OneLineParser(
        prog="vita-bench latency",
        description="Measure inference latency by model part and chunk length, against the hardware limit.",
    )
    parser.add_argument(
        "--preset", type=word, default="quarter", help=f"model size: {', '.join(PRESETS)} (default: quarter)"
    )
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--precision", type=Precision, choices=list(Precision), default=Precision.FP32,
        help="precision of matrix products (default: fp32)",
    )  # fmt: skip
    parser.add_argument("--views", type=int, default=2, metavar="N", help="number of camera views (default: 2)")
    parser.add_argument(
        "--horizons", type=positives, default=(12, 24, 48), metavar="H,H", help="chunk lengths (default: 12,24,48)"
    )
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="timed inferences per row (default: 10)")
    parser.add_argument("--compile", action="store_true", help="compile the backbone and the action decoder")
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")
    return parser


def _latency(arguments: argparse.Namespace) -> None:
    spec = LatencySpec(
        preset=arguments.preset,
        device=arguments.device,
        precision=arguments.precision,
        num_views=arguments.views,
        horizons=arguments.horizons,
        num_runs=arguments.runs,
        compile=arguments.compile,
    )

    from pipelines.bench.model.latency import as_markdown, measure_latency

    report = measure_latency(spec)
    print(json.dumps(asdict(report), indent=1) if arguments.json else as_markdown(report))


def serve(argv: Sequence[str] | None = None) -> int:
    """Load-test vita-serve; returns the exit code."""
    arguments = serve_parser().parse_args(argv)
    return exit_code("vita-bench serve", lambda: _serve(arguments), interrupted="interrupted")


def serve_parser() -> OneLineParser:
    """Make the parser of `vita-bench serve`."""
    parser = OneLineParser(
        prog="vita-bench serve",
        description="Load-test vita-serve with concurrent clients, and compare with the same policy in process.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--preset", type=word, help=f"size of a random model: {', '.join(PRESETS)} (default: tiny)")
    what.add_argument(
        "--policy", type=local_path, metavar="RUN", help="run folder, one of its checkpoints, or an exported policy"
    )
    parser.add_argument(
        "--clients",
        type=int,
        nargs="+",
        default=(1, 4, 16),
        metavar="N",
        help="numbers of concurrent clients (default: 1 4 16)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        nargs="+",
        default=(1, 8),
        metavar="N",
        help="requests that the policy answers in one call, one server for each number (default: 1 8)",
    )
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="timed requests per row (default: 400)")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--out", type=local_path, metavar="FILE", help="also write the results to FILE, as JSON")
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")
    return parser


def _serve(arguments: argparse.Namespace) -> None:
    spec = LoadSpec(
        preset=arguments.preset or LoadSpec().preset, policy=arguments.policy, clients=tuple(arguments.clients),
        num_requests=arguments.requests, device=arguments.device, batches=tuple(arguments.max_batch),
    )  # fmt: skip
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise RequestError(f"--out {arguments.out}: folder {arguments.out.parent} not found; create it")
    if arguments.out is not None and arguments.out.is_dir():
        raise RequestError(f"--out {arguments.out}: expected a file, got a folder")
    if spec.policy is not None:
        find_policy(spec.policy)

    from pipelines.bench.model.load_test import measure_load
    from pipelines.bench.model.serve_table import as_markdown

    report = measure_load(spec)
    text = json.dumps(asdict(report), indent=1)
    if arguments.out is not None:
        write_atomically(arguments.out, text.encode())
    print(text if arguments.json else as_markdown(report))
