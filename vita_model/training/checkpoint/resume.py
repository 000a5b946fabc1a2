"""Checks before resuming: which settings must equal those of the checkpoint, and which may change.

The loader compares the mixture itself, because it knows the position in each source.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vita_data.config.from_json import from_json
from vita_data.errors import RequestError
from vita_data.loader import PlanChange
from vita_data.types import Json
from vita_model.training.checkpoint.state import Progress, RecipeChange
from vita_model.training.recipes.recipe import Recipe, as_json, differences, first_difference

_MAY_CHANGE = (
    "num_steps",
    "max_bad_steps",
    "init",
    "save_every",
    "save_steps",
    "eval_split",
    "keep_last",
    "keep_every",
    "report_every",
    "eval_batches",
    "eval_every",
    "manifest",
    "parallel",
    "shard_ranks",
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
_WHEN_NAMED = ("optimizer",)
"""Fields, or configs of them, that may change if `--change` names them: they change what a run learns, not on what."""
_PLAN_FIELDS = ("seed", "batch_size", "windows", "modality_steps", "order")
"""Fields that may also change with `--allow-plan-change`."""


def check_same_run(
    checkpoint: Path,
    progress: Progress,
    recipe: Recipe,
    statistics: Json,
    plan_change: PlanChange,
    changes: Collection[str] = (),
) -> None:
    """Refuse to resume with another recipe, too few steps, or statistics that differ from those of the run.

    Fields of the recipe that `changes` names may differ.

    Raises:
        RequestError: the run is beyond the recipe's last step, or something changed; the message names the first field,
            or the sources.
    """
    if progress.step > recipe.num_steps:
        raise RequestError(
            f"--resume {checkpoint}: this run is already at step {progress.step}, beyond the {recipe.num_steps} steps "
            "asked for; ask for more with --steps N, or give another --out for a shorter run"
        )
    may_change = (*_MAY_CHANGE, *changes, *(_PLAN_FIELDS if plan_change is PlanChange.ALLOW else ()))
    saved, asked = _without(_saved_recipe(progress), may_change), _without(as_json(recipe), may_change)
    if difference := next(differences(saved, asked), None):
        field, _, wanted = difference
        named = f", or with --change {field}={wanted}" if is_changeable(field) else ""
        raise RequestError(
            f"--resume {checkpoint}: the recipe has changed: {first_difference(saved, asked)}; resume with the "
            f"original recipe{named}"
        )
    if plan_change is PlanChange.REFUSE:
        _check_statistics(checkpoint, progress.statistics, statistics)


def changes_since(progress: Progress, recipe: Recipe) -> tuple[RecipeChange, ...]:
    """List the fields in which a recipe differs from that of a checkpoint."""
    return tuple(
        RecipeChange(step=progress.step, field=field, before=before, after=after)
        for field, before, after in differences(_saved_recipe(progress), as_json(recipe))
    )


def is_changeable(field: str) -> bool:
    """Tell whether `--change` may change a field, given by the name that `--set` uses."""
    return any(field == name or field.startswith(f"{name}.") for name in (*_MAY_CHANGE, *_WHEN_NAMED))


def check_changeable(field: str) -> None:
    """Refuse a field that a resumed run cannot change.

    Raises:
        RequestError: the field decides which weights, losses or samples a run has.
    """
    if not is_changeable(field):
        names = ", ".join((*(f"{name}.*" for name in _WHEN_NAMED), *_MAY_CHANGE))
        raise RequestError(f"--change {field}: a resumed run cannot change this field; expected one of {names}")


def _saved_recipe(progress: Progress) -> Mapping[str, object]:
    """Give the recipe of a checkpoint; fields that are newer than the run have their defaults."""
    return as_json(from_json(Recipe, progress.recipe))


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
