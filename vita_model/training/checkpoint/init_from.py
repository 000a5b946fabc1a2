"""Initialize a stage with the components of an earlier run, and check that they fit."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vita_data.config.from_json import from_json
from vita_data.errors import RequestError
from vita_data.types import Json
from vita_model.distributed import first_says
from vita_model.network.configs import Component, VitaConfig
from vita_model.network.lora import ADAPTERS
from vita_model.network.vita import Vita
from vita_model.training.checkpoint.components import load_components
from vita_model.training.checkpoint.run_folder import how_far, latest_of
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.recipes.recipe import first_difference

_REASONING, _FREE = (
    ("cot", "backbone"),
    ("weights", "max_text_tokens", "lora_rank", "lora_alpha"),
)
"""Configs that determine the backbone's reasoning, and fields of them that do not matter."""
NEW_TENSORS = MappingProxyType(
    {Component.ACTION_DECODER: ("segments*", "context_in.*", "correction.*"), Component.BACKBONE: (f"*.{ADAPTERS}*",)}
)
"""Patterns of names of tensors that an earlier run may lack: it did not split chunks into segments, its action decoder
did not read the backbone's states, or its backbone had no adapters."""


def init_from(
    run: Path,
    model: Vita,
    needs: frozenset[Component],
    parts: Collection[Component] = tuple(Component),
    report: Callable[[str], None] = lambda line: None,
) -> frozenset[Component]:
    """Load those components of `parts` that an earlier run's newest checkpoint has; returns and reports their names.

    Raises:
        RequestError: the run has no checkpoint, lacks a component that the stage needs, or differs in shapes, in frozen
            features, or in the reasoning of a frozen backbone.
    """
    checkpoint = first_says(lambda: latest_of(run, f"--set init={run}"))
    progress = load_progress(checkpoint)
    model.features.check_same(progress.features, f"--set init={run}")
    if Component.BACKBONE in needs:
        _check_same_reasoning(progress.recipe, model.config, f"--set init={run}")
    loaded = load_components(checkpoint, model, parts, may_begin=NEW_TENSORS)
    if left_out := sorted(needs - set(parts)):
        raise RequestError(f"init_parts leaves out {', '.join(left_out)}, which this stage needs from init={run}")
    if missing := sorted(needs - loaded):
        hint = "; give a co-trained run" if Component.BACKBONE in missing else ""
        lacks = f"{checkpoint.name} has no {', '.join(missing)}, which this stage needs"
        raise RequestError(f"--set init={run}: {lacks}{hint}")
    if Component.CODEBOOK in needs and not model.codebook.is_filled:
        filled = min(int(table.num_filled) for table in model.codebook.tables)
        wanted = model.config.codebook.num_codes
        raise RequestError(
            f"--set init={run}: its codebook has {filled} of {wanted} codes; train that run longer, or with --set "
            "codebook.continuous_updates=0 for a short try"
        )
    report(f"starts from {run} ({how_far(run, progress)}): {', '.join(one for one in Component if one in loaded)}")
    return loaded


def _check_same_reasoning(recipe: Json, config: VitaConfig, where: str) -> None:
    """Refuse to freeze a backbone that was trained with other reasoning settings, which shapes do not show."""
    stored: Any = recipe.get("model", {})
    known = {name: stored[name] for name in _REASONING if name in stored}
    before = from_json(VitaConfig, known)
    for name in known:
        saved, asked = (
            {key: value for key, value in asdict(getattr(one, name)).items() if key not in _FREE}
            for one in (before, config)
        )
        if difference := first_difference(saved, asked, name):
            raise RequestError(
                f"{where}: its backbone was trained with other settings: {difference}; --set the old value"
            )
