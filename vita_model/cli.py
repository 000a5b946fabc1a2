"""The command `vita-train`: a recipe, shards and a folder for the run; trains one stage of VITA.

The only module here that asks `vita_data.loader` for batches.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.errors import RequestError, VitaDataError
from vita_data.exits import exit_code
from vita_data.loader import Plan, PlanChange, conventions, held_out, make_loader, only_paired
from vita_data.manifest import load_manifest
from vita_data.types import Manifest
from vita_model import memory, params
from vita_model.distributed import Ranks, joined_ranks
from vita_model.memory import estimate_memory
from vita_model.override import override
from vita_model.params import parameter_table
from vita_model.recipe import Recipe, check_windows, find_manifest, limited, load_recipe, resolved
from vita_model.train import RunEnd, train

if TYPE_CHECKING:
    from vita_data.loader.loader import Loader


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 data or run are bad or Ctrl-C, 2 the request is bad."""
    argv = sys.argv[1:] if argv is None else argv
    verb = _VERBS.get(argv[0]) if argv else None
    if verb is not None:
        return _guarded(lambda: verb(argv[1:]))
    arguments = _parser().parse_args(argv)
    return _guarded(lambda: _train(arguments))


def _guarded(command: Callable[[], None]) -> int:
    return exit_code("vita-train", command, interrupted="interrupted; --resume goes on from the last checkpoint")


def _train(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    if arguments.steps is not None:
        recipe = replace(recipe, num_steps=arguments.steps)
    with joined_ranks() as ranks:
        end = _run(recipe, arguments, ranks)
    if not ranks.is_first:  # one rank speaks for all
        return
    if end.interrupted:
        raise VitaDataError(f"stopped at step {end.step} by SIGTERM, saved as {end.checkpoint}; --resume goes on")
    print(f"done at step {end.step}: {end.checkpoint}")


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return resolved(override(load_recipe(arguments.recipe), arguments.settings))


def _params(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="vita-train params",
        description="Count a recipe's parameters beside the paper's, and its memory on each rank, without making them.",
    )
    _add_recipe(parser)
    parser.add_argument("--ranks", type=_positive, default=1, metavar="N", help="ranks of the run (default 1)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, nothing else")
    arguments = parser.parse_args(argv)
    recipe = _recipe(arguments)
    table, estimate = parameter_table(recipe), estimate_memory(recipe, num_ranks=arguments.ranks)
    if arguments.json:
        print(json.dumps({**params.as_json(table), "memory": memory.as_json(estimate)}, indent=1))
    else:
        print(f"{params.as_text(table)}\n{memory.as_text(estimate)}")


def _export(argv: list[str]) -> None:
    # A policy resizes images with OpenCV, which no training process needs.
    from vita_model import export

    parser = argparse.ArgumentParser(
        prog="vita-train export", description="Write of a checkpoint only what a policy needs, to a new folder."
    )
    export.add_arguments(parser)
    arguments = parser.parse_args(argv)
    print(export.export(arguments.run, arguments.out, imagine=arguments.imagine, weights=arguments.weights))


def _preview(argv: list[str]) -> None:
    from vita_model import preview_clip

    parser = argparse.ArgumentParser(
        prog="vita-train preview", description="Draw what a run imagines and chooses for a clip beside what happened."
    )
    preview_clip.add_arguments(parser)
    print(preview_clip.run(parser.parse_args(argv)))


_VERBS: Mapping[str, Callable[[list[str]], None]] = {"params": _params, "export": _export, "preview": _preview}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vita-train",
        description="Train one stage of VITA.",
        epilog="vita-train params RECIPE.py counts a recipe's parameters beside the paper's, and the memory it takes; "
        "vita-train export RUN DIR writes what a policy needs; vita-train preview RUN ... draws what it imagines.",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--shards", required=True, metavar="DIR", help="folder or s3:// address that vita-data build wrote to"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run; new, or --resume")
    parser.add_argument("--steps", type=_positive, metavar="N", help="train to this step instead of the recipe's last")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    parser.add_argument("--allow-plan-change", action="store_true", help="let --resume go on with another mixture")
    return parser


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE.py", help="file with a function recipe() -> Recipe")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="change a field of the recipe: manifest=PATH, init=RUN, optimizer.lr=3e-5, order.kind=window, "
        "loader.threads=4, loader.damage=substitute, loader.remote.cache=DIR ...",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is no number of steps")
    return value


def _run(recipe: Recipe, arguments: argparse.Namespace, ranks: Ranks) -> RunEnd:
    if "://" not in arguments.shards and not Path(arguments.shards).is_dir():
        raise RequestError(f"--shards {arguments.shards} is no folder: build one with `vita-data build --out DIR`")
    manifest = limited(load_manifest(find_manifest(recipe, arguments.recipe)), recipe)
    if recipe.takes_paired_alone:
        manifest = only_paired(manifest, arguments.shards)
    plan = _plan(recipe, manifest, arguments.shards)
    check_windows(recipe, plan.windows)
    for note in plan.notes if ranks.is_first else ():
        print(note)
    if ranks.is_first:
        print(memory.as_text(estimate_memory(recipe, num_ranks=ranks.world_size, windows=plan.windows)))
    with contextlib.ExitStack() as stack:
        loader = stack.enter_context(contextlib.closing(_loader(recipe, plan, ranks)))
        other = None
        if recipe.eval_split is not None:
            split = _plan(recipe, held_out(manifest, arguments.shards, recipe.eval_split), arguments.shards)
            other = stack.enter_context(contextlib.closing(_loader(recipe, split, ranks)))
        return train(
            recipe,
            loader,
            arguments.out,
            statistics=plan.statistics,
            report=print,
            resume=arguments.resume,
            plan_change=PlanChange.ALLOW if arguments.allow_plan_change else PlanChange.REFUSE,
            ranks=ranks,
            conventions={source: one.as_json() for source, one in conventions(plan).items()},
            resizes=plan.resizes,
            held_out=other,
        )


def _plan(recipe: Recipe, manifest: Manifest, shards: str) -> Plan:
    return Plan.from_manifest(
        manifest,
        shards=shards,
        stage=recipe.stage,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        windows=recipe.windows,
        modality_steps=recipe.modality_steps,
        order=recipe.order,
    )


def _loader(recipe: Recipe, plan: Plan, ranks: Ranks) -> "Loader":
    config = recipe.loader
    return make_loader(
        plan, rank=ranks.rank, world_size=ranks.world_size, threads=config.threads, ahead=config.ahead,
        damage=config.damage, instruction=config.instruction, read_timeout_s=config.read_timeout_s,
        remote=config.remote.options,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
