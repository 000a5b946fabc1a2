"""Recipes by path and by name; one recipe builds on another."""

from pathlib import Path

import pytest

from vita_data.errors import RequestError
from vita_model.training.recipes.load import RECIPES, find_manifest, find_recipe, load_recipe

ROOT = Path(__file__).parents[4]
VARIANT = """
from dataclasses import replace
from {module} import {name} as base

def recipe():
    return replace(base({argument}), name="variant", num_steps=7)
"""


def test_a_recipe_that_comes_with_the_package_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("debug_warmup", "debug_warmup.py", "pipelines/recipes/debug_warmup.py"):
        assert find_recipe(text) == ROOT / "pipelines" / "recipes" / "debug_warmup.py"
        recipe = load_recipe(text)
        assert recipe.name == "debug_warmup"
        assert find_manifest(recipe, text) == ROOT / "manifests" / "toy.toml"
    assert set(RECIPES.names()) == {path.stem for path in (ROOT / "pipelines" / "recipes").glob("*.py")}


def test_a_file_precedes_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("debug_warmup.py").write_text(
        VARIANT.format(module="vita_model.training.recipes.load", name="load_recipe", argument='"debug_cotrain"')
    )
    assert load_recipe("debug_warmup.py").name == "variant"
    assert load_recipe("debug_warmup").name == "debug_warmup"


def test_a_recipe_may_name_a_manifest_that_comes_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    for manifest in ("lift", "manifests/lift.toml"):
        path.write_text(
            "from dataclasses import replace\nfrom vita_model.training.recipes.load import load_recipe\n"
            f"def recipe():\n    return replace(load_recipe('lift_warmup'), manifest={manifest!r})\n"
        )
        assert find_manifest(load_recipe(path), path) == ROOT / "manifests" / "lift.toml"
    path.write_text(path.read_text().replace("manifests/lift.toml", "lifd"))
    with pytest.raises(RequestError, match=r"manifest lifd not found; --set manifest=PATH; did you mean 'lift'\?"):
        find_manifest(load_recipe(path), path)


def test_a_mistyped_path_of_a_recipe_is_answered_with_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_warmup.py").touch()
    with pytest.raises(RequestError, match=r"my_warmpu\.py not found; .*; did you mean .*/my_warmup\.py\?"):
        load_recipe(tmp_path / "my_warmpu.py")


def test_a_recipe_imports_the_file_beside_it_and_not_one_of_another_folder(tmp_path: Path) -> None:
    for folder, steps in (("a", 3), ("b", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.py").write_text(f"steps = {steps}\n")
        (tmp_path / folder / "mine.py").write_text(
            "from dataclasses import replace\nimport base\n"
            "from vita_model.training.recipes.load import load_recipe\n"
            "def recipe():\n    return replace(load_recipe('debug_warmup'), num_steps=base.steps)\n"
        )
    assert [load_recipe(tmp_path / folder / "mine.py").num_steps for folder in "ab"] == [3, 4]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("debug_warmp", r"did you mean 'debug_warmup'\?"),
        ("mine", r"recipes that come with VITA: cotrain, .*warmup$"),
        ("x/mine.py", r"Recipe$"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(text: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        load_recipe(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "replace(base, num_step=30)",
            r"failed: TypeError: Recipe\.__init__\(\) got an unexpected keyword argument 'num_step'.*"
            r"[Dd]id you mean 'num_steps'\? \(.*/mine\.py, line 6\)$",
        ),
        (
            "replace(base, optimizer=OptimizerConfig(ramp_step=3))",
            r"keyword argument 'ramp_step'.*[Dd]id you mean 'ramp_steps'\? \(.*/mine\.py, line 6\)$",
        ),
        ("1 / 0", r"failed: ZeroDivisionError: division by zero \(.*/mine\.py, line 6\)$"),
    ],
)
def test_a_fault_in_a_recipe_names_its_line_and_the_field_meant(tmp_path: Path, change: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from vita_model.training.recipes.load import load_recipe\n"
        "from vita_model.training.recipes.recipe import OptimizerConfig\n"
        "base = load_recipe('debug_warmup')\n"
        f"def recipe():\n    return {change}\n"
    )
    with pytest.raises(RequestError, match=told):
        load_recipe(tmp_path / "mine.py")


@pytest.mark.parametrize(("text", "found"), [("", "none"), ("recipe = 3\n", "int `recipe`")])
def test_a_file_without_the_function_is_told_what_is_expected(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "t1.py").write_text(text)
    told = rf"recipe .*/t1\.py: expected a function `recipe\(\)` that returns a Recipe, found {found}$"
    with pytest.raises(RequestError, match=told):
        load_recipe(tmp_path / "t1.py")
