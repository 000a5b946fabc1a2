"""Every recipe builds its config and its model; a new one needs no edit here."""

from pathlib import Path

import pytest
import torch

from vita_data.types import Stage
from vita_model.recipe import Recipe, as_json, find_manifest, load_recipe
from vita_model.stages import RULES
from vita_model.vita import Vita

FOLDER = Path(__file__).parents[2] / "pipelines" / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))


def test_each_stage_has_a_debug_recipe():
    stages = {load_recipe(path).stage for path in RECIPES if path.stem.startswith("debug_")}
    assert stages == set(Stage)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds_its_config_and_its_model(path):
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    assert recipe.name == path.stem
    assert as_json(recipe)["stage"] == recipe.stage
    with torch.device("meta"):
        model = Vita(recipe.model, RULES[recipe.stage].builds)
    assert set(model.components) == RULES[recipe.stage].builds


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_a_manifest_that_exists(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_manifest(load_recipe(path), path).is_file()
