"""The command `vita-train`: train one stage of VITA from a recipe and shards into a run folder.

This is the only module in vita_model that creates a `vita_data.loader`. Modules that need torch are imported after all
checks that work without it: importing torch takes seconds, and errors should be reported immediately.
"""

import argparse
import contextlib
import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.command.exits import OneLineParser, exit_code
from vita_data.command.progress import BYTES, Progress
from vita_data.errors import RequestError, VitaDataError
from vita_data.loader import Plan, PlanChange, conventions, held_out, make_loader, only_paired
from vita_data.manifest import load_manifest
from vita_data.nearby import near_name
from vita_data.types import Manifest
from vita_model.arguments import export_parser, params_parser, preview_parser, train_parser
from vita_model.training.checkpoint.resume import check_changeable
from vita_model.training.checkpoint.run_folder import (
    find_checkpoint,
    find_policy,
    latest_of,
    require_new,
    require_startable,
)
from vita_model.training.recipes.checks import check_eval_every, check_joints, check_windows
from vita_model.training.recipes.load import find_manifest, find_recipe, load_recipe
from vita_model.training.recipes.override import full_name, override
from vita_model.training.recipes.recipe import Recipe, limited, resolved

if TYPE_CHECKING:
    from vita_data.loader.loader import Loader
    from vita_model.distributed import Ranks
    from vita_model.training.train import RunEnd


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 faulty data or run, or Ctrl-C, 2 invalid request."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv and argv[0] in _VERBS else ""
    verb = _VERBS[name]
    parser = verb.parser()
    if not name:
        _refuse_typo(parser, argv)
    arguments = parser.parse_args(argv[1:] if name else argv)
    interrupted = "interrupted; add --resume to continue from the last checkpoint"
    return exit_code("vita-train", lambda: verb.run(arguments), interrupted=interrupted)


def _refuse_typo(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Refuse a misspelled verb; otherwise it would be taken for a recipe, with a misleading message."""
    if argv and not argv[0].endswith(".py") and not os.path.exists(argv[0]) and find_recipe(argv[0]) is None:
        for near in difflib.get_close_matches(argv[0], filter(None, _VERBS), n=1):
            parser.error(f"unknown verb {argv[0]!r}; did you mean {near!r}?")


def _train(arguments: argparse.Namespace) -> None:
    recipe = _changed(arguments)
    if arguments.steps is not None:
        recipe = replace(recipe, num_steps=arguments.steps)
    check_eval_every(recipe, recipe.eval_split)
    _check_folders(recipe, arguments)
    plans = _plans(recipe, arguments)

    from vita_model.distributed import joined_ranks

    with joined_ranks() as ranks:
        end = _run(recipe, plans, arguments, ranks)
    if not ranks.is_first:  # only the first rank prints
        return
    if end.interrupted:
        raise VitaDataError(f"stopped by SIGTERM at step {end.step}, saved {end.checkpoint}; add --resume to continue")
    print(f"done at step {end.step}: {end.checkpoint}")


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return resolved(override(load_recipe(arguments.recipe), arguments.settings))


def _changed(arguments: argparse.Namespace) -> Recipe:
    """Load the recipe of a run, with what `--change` changes in a resumed one."""
    if arguments.changes and not arguments.resume:
        raise RequestError(f"--change {arguments.changes[0]}: expected --resume with it; use --set for a new run")
    for field in _changed_fields(arguments):
        check_changeable(field)
    recipe = override(load_recipe(arguments.recipe), arguments.settings)
    return resolved(override(recipe, arguments.changes, option="--change"))


def _changed_fields(arguments: argparse.Namespace) -> list[str]:
    return [full_name(change.partition("=")[0]) for change in arguments.changes]


def _check_folders(recipe: Recipe, arguments: argparse.Namespace) -> None:
    """Refuse unsuitable folders early; training checks again when it has locked the run."""
    shards = Path(arguments.shards)
    if "://" not in arguments.shards and not shards.is_dir():
        if shards.exists():
            raise RequestError(f"--shards {shards}: expected a folder, got a file")
        build = f"; build one with `vita-data build --source NAME --raw RAW --out {shards}`"
        raise RequestError(f"--shards {shards}: folder not found{near_name(shards) or build}")
    run = Path(arguments.out)
    require_startable(run)
    # With several ranks, another rank may already be writing there.
    if not arguments.resume and os.environ.get("WORLD_SIZE", "1") == "1":
        require_new(run)
    if recipe.init is not None and not arguments.resume:
        latest_of(Path(recipe.init), f"--set init={recipe.init}")


def _params(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)

    from vita_model.training.estimate import cards, memory, params

    card = next((one for one in cards.CARDS if one.name == arguments.card), None)
    table, estimate = params.parameter_table(recipe), memory.estimate_memory(recipe, num_ranks=arguments.ranks)
    if arguments.json:
        fits = {} if card is None else {"card": card.name, "fits": card.fits(estimate.total)}
        print(json.dumps({**params.as_json(table), "memory": memory.as_json(estimate), **fits}, indent=1))
    else:
        print(f"{params.as_text(table)}\n{memory.as_text(estimate)}")
        if card is not None:
            print(cards.as_text(card, estimate.total))


def _export(arguments: argparse.Namespace) -> None:
    find_checkpoint(arguments.run)

    # A policy needs OpenCV, which training does not.
    from vita_model.policy.export import ExportWeights, export

    weights = ExportWeights(arguments.weights)
    with Progress("export", unit=BYTES, quiet=arguments.quiet) as progress:
        out = export(arguments.run, arguments.out, imagine=arguments.imagine, weights=weights, progress=progress)
    print(out)


def _preview(arguments: argparse.Namespace) -> None:
    find_policy(arguments.run)
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        raise RequestError(f"--out {arguments.out}: expected the path of an image file in an existing folder")

    from vita_model.policy import preview as preview_clip

    print(preview_clip.run(arguments))


@dataclass(frozen=True, slots=True)
class _Verb:
    parser: Callable[[], OneLineParser]
    run: Callable[[argparse.Namespace], None]


_VERBS: Mapping[str, _Verb] = {
    "": _Verb(train_parser, _train),
    "params": _Verb(params_parser, _params),
    "export": _Verb(export_parser, _export),
    "preview": _Verb(preview_parser, _preview),
}
"""Verbs by the first word of the command line; the default is training."""


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plan for training, and the plan for evaluation if it uses another split."""

    train: Plan
    held_out: Plan | None


def _plans(recipe: Recipe, arguments: argparse.Namespace) -> _Plans:
    manifest = limited(load_manifest(find_manifest(recipe, arguments.recipe)), recipe)
    if recipe.takes_paired_alone:
        manifest = only_paired(manifest, arguments.shards)
    plan = _plan(recipe, manifest, arguments.shards)
    check_windows(recipe, plan.windows)
    check_joints(recipe, plan.joint_sources)
    if recipe.eval_split is None:
        return _Plans(plan, None)
    return _Plans(plan, _plan(recipe, held_out(manifest, arguments.shards, recipe.eval_split), arguments.shards))


def _run(recipe: Recipe, plans: _Plans, arguments: argparse.Namespace, ranks: "Ranks") -> "RunEnd":
    from vita_model.training.cpu_threads import leave_cores_to_the_loader
    from vita_model.training.estimate.memory import as_text, estimate_memory
    from vita_model.training.train import train

    if ranks.device.type == "cpu":
        leave_cores_to_the_loader(recipe.loader.threads)
    plan = plans.train
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Progress(recipe.name, unit="steps", quiet=arguments.quiet))
        for note in plan.notes if ranks.is_first else ():
            display.say(note)
        if ranks.is_first:
            drawn = [modality for modality, share in plan.modality_steps.items() if share]
            needed = estimate_memory(recipe, num_ranks=ranks.world_size, windows=plan.windows, modalities=drawn)
            display.say(as_text(needed))
        loader = stack.enter_context(contextlib.closing(_loader(recipe, plan, ranks)))
        other = None
        if plans.held_out is not None:
            other = stack.enter_context(contextlib.closing(_loader(recipe, plans.held_out, ranks)))
        return train(
            recipe,
            loader,
            Path(arguments.out),
            statistics=plan.statistics,
            report=display.say,
            resume=arguments.resume,
            plan_change=PlanChange.ALLOW if arguments.allow_plan_change else PlanChange.REFUSE,
            changes=_changed_fields(arguments),
            ranks=ranks,
            conventions={source: one.as_json() for source, one in conventions(plan).items()},
            resizes=plan.resizes,
            held_out=other,
            display=display,
            profile_steps=arguments.profile,
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
        also=recipe.also,
        order=recipe.order,
        joints=recipe.model.joints,
    )


def _loader(recipe: Recipe, plan: Plan, ranks: "Ranks") -> "Loader":
    return make_loader(plan, rank=ranks.rank, world_size=ranks.world_size, options=recipe.loader)


if __name__ == "__main__":
    sys.exit(main())
