"""The parameter table: counted, not stored, and what a stage trains is what it says."""

import json
from pathlib import Path

import pytest
import torch

from vita_data.types import Stage
from vita_model.network.vita import Vita
from vita_model.training.estimate.params import as_json, as_text, parameter_table
from vita_model.training.recipes.load import load_recipe
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import Recipe
from vita_model.training.stages import RULES

RECIPES = Path(__file__).parents[4] / "pipelines" / "recipes"


@pytest.mark.parametrize("name", ["warmup", "cotrain"])
def test_full_size_recipes_are_within_two_percent_of_table_11(name: str) -> None:
    table = parameter_table(load_recipe(RECIPES / f"{name}.py"))
    stated = {part.name: part.difference for part in table.parts if part.difference is not None}

    assert {"DINOv2", "M-Former", "visual decoder", "action encoder", "action decoder"} <= set(stated)
    # SigLIP's size is its checkpoint's.
    assert all(abs(difference) < 0.02 for part, difference in stated.items() if part != "SigLIP")


@pytest.mark.parametrize("stage", list(Stage))
def test_the_table_counts_what_a_real_model_has(stage: Stage) -> None:
    recipe = Recipe(name="t", stage=stage, manifest="m", num_steps=1, batch_size=1, model=tiny())
    table, model = parameter_table(recipe), Vita(tiny(), RULES[stage].builds)
    codes = model.codebook.codes.numel()

    assert sum(part.count for part in table.parts) == sum(p.numel() for p in model.parameters()) + codes
    assert all(0 <= part.trained <= part.count for part in table.parts)
    assert table.trained.count == sum(part.trained for part in table.parts)
    assert all(not tensor.is_meta for tensor in model.state_dict().values())


def test_it_says_what_the_paper_counts_otherwise() -> None:
    table = parameter_table(load_recipe(RECIPES / "warmup.py"))
    text, plain = as_text(table), json.loads(json.dumps(as_json(table)))

    assert "324.000M     +11.21%  324M is the sum of the two decoders" in text
    assert plain["trained"]["count"] == table.trained.count > 360_000_000
    assert torch.get_default_device().type == "cpu"
