"""Every recipe builds its config and its model; a new one needs no edit here."""

import functools
from pathlib import Path

import pytest
import torch

from vita_data.types import Stage
from vita_model.network.configs import Component, VitaConfig
from vita_model.network.vita import Vita
from vita_model.training.checkpoint.components import without_new
from vita_model.training.checkpoint.init_from import NEW_TENSORS
from vita_model.training.recipes.load import find_manifest, load_recipe
from vita_model.training.recipes.recipe import Recipe, as_json
from vita_model.training.stages import RULES

FOLDER = Path(__file__).parents[2] / "pipelines" / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))


@functools.cache
def built(config: VitaConfig, parts: frozenset[Component]) -> Vita:
    """A model without memory; many recipes share one."""
    with torch.device("meta"):
        return Vita(config, parts)


def test_each_stage_has_a_debug_recipe():
    stages = {load_recipe(path).stage for path in RECIPES if path.stem.startswith("debug_")}
    assert stages == set(Stage)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds_its_config_and_its_model(path):
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    assert recipe.name == path.stem
    assert as_json(recipe)["stage"] == recipe.stage
    assert set(built(recipe.model, RULES[recipe.stage].builds).components) == RULES[recipe.stage].builds


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_a_manifest_that_exists(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_manifest(load_recipe(path), path).is_file()


_BEFORE = {Stage.COTRAIN: "warmup", Stage.FINETUNE: "cotrain"}


def recipe_before(path: Path) -> Path | None:
    """The recipe whose run a later stage starts from: of the same family, or the full-size one."""
    stage = load_recipe(path).stage
    if stage is Stage.WARMUP:
        return None
    own = path.with_stem(path.stem.replace(str(stage), _BEFORE[stage]))
    return own if own.is_file() else path.with_stem(_BEFORE[stage])


def test_a_later_stage_can_start_from_the_run_of_the_stage_before():
    checked = 0
    for path in RECIPES:
        if (before := recipe_before(path)) is None:
            continue
        assert before.is_file(), f"{path.stem} has no recipe before it"
        earlier, later = (
            built(recipe.model, RULES[recipe.stage].builds) for recipe in map(load_recipe, (before, path))
        )
        for name in RULES[load_recipe(before).stage].builds:
            given, own = ({key: tuple(value.shape) for key, value in model.component(name).state_dict().items()}
                          for model in (earlier, later))  # fmt: skip
            taken = without_new(own, given, NEW_TENSORS.get(name, ()))
            assert given == {key: own[key] for key in taken}, (path.stem, name)
            checked += 1
    assert checked > 10
