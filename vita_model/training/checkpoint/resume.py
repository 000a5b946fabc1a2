"""Checks before resuming: which settings must equal those of the checkpoint, and which may change.

The loader compares the mixture itself, because it knows the position in each source.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from vita_data.config.from_json import from_json
from vita_data.errors import RequestError
from vita_data.loader import PlanChange
from vita_data.types import Json
from vita_model.training.checkpoint.state import Progress
from vita_model.training.recipes.recipe import Recipe, as_json, first_difference

_MAY_CHANGE = (
    "num_steps",
    "init",
    "save_every",
    "save_steps",
    "eval_split",
    "keep_last",
    "report_every",
    "eval_batches",
    "eval_every",
    "manifest",
    "parallel",
    "recompute",
    "compile",
    "loader.threads",
    "loader.ahead",
    "loader.read_timeout_s",
    "loader.remote",
)
"""Recipe fields that a resumed run may change; the loader itself checks the mixture.

A different placement of weights changes sums only in their last bits, like a different number of ranks.
"""
_PLAN_FIELDS = ("seed", "batch_size", "windows", "modality_steps", "order")
"""Fields that may also change with `--allow-plan-change`."""


def check_same_run(
    checkpoint: Path, progress: Progress, recipe: Recipe, statistics: Json, plan_change: PlanChange
) -> None:
    """Refuse to resume with another recipe, or with statistics that differ from those of the run.

    Raises:
        RequestError: something changed; the message names the first field, or the sources.
    """
    may_change = _MAY_CHANGE + (_PLAN_FIELDS if plan_change is PlanChange.ALLOW else ())
    # Fields that are newer than the run have their defaults.
    before = as_json(from_json(Recipe, progress.recipe))
    saved, asked = _without(before, may_change), _without(as_json(recipe), may_change)
    if difference := first_difference(saved, asked):
        raise RequestError(
            f"--resume {checkpoint}: the recipe has changed: {difference}; resume with the original recipe"
        )
    if plan_change is PlanChange.REFUSE:
        _check_statistics(checkpoint, progress.statistics, statistics)


def _without(recipe: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """Remove fields, given by the names that `--set` uses."""
    left: dict[str, object] = {}
    for name, value in recipe.items():
        inner = [path.removeprefix(f"{name}.") for path in names if path.startswith(f"{name}.")]
        if name not in names:
            left[name] = _without(value, inner) if inner and isinstance(value, Mapping) else value
    return left


def _check_statistics(checkpoint: Path, saved: Json, asked: Json) -> None:
    now: Json = json.loads(json.dumps(dict(asked)))
    changed = [source for source in sorted(saved.keys() & now.keys()) if saved[source] != now[source]]
    if changed:
        raise RequestError(
            f"--resume {checkpoint}: the statistics of {', '.join(changed)} differ from those of the run; restore the "
            "old stats.json, or continue with --allow-plan-change"
        )
