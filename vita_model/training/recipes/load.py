"""Loads recipes and finds their manifests: by path, or by the name of one that comes with the package."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vita_data.config.annotated import first_misfit
from vita_data.errors import RequestError
from vita_data.installation import MANIFESTS, ShippedFiles
from vita_data.nearby import near_name
from vita_model.training.recipes.recipe import Recipe

RECIPES = ShippedFiles("recipe", "pipelines/recipes", "vita_model/_recipes", ".py")
_WANTED = "expected a Python file that defines recipe() -> Recipe"


def load_recipe(path: str | Path) -> Recipe:
    """Call the function `recipe` of a Python file, given by its path or by the name of one that comes with VITA.

    The file can import files beside it: `from debug_warmup import recipe as base`.

    Raises:
        RequestError: the file does not exist or fails, or `recipe` does not return a valid Recipe.
    """
    file = find_recipe(path)
    if file is None:
        hint = near_name(Path(path)) or RECIPES.hint(str(path))
        raise RequestError(f"recipe {path} not found; {_WANTED}{hint}")
    spec = importlib.util.spec_from_file_location(f"_recipe_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RequestError(f"recipe {path}: {_WANTED}")
    module = importlib.util.module_from_spec(spec)
    try:
        with _importing_from(file.resolve().parent):
            spec.loader.exec_module(module)
            recipe = module.recipe()
    except (Exception, SystemExit) as fault:
        raise RequestError(f"recipe {path} failed: {type(fault).__name__}: {fault}") from fault
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {path}: expected recipe() to return a Recipe, got {type(recipe).__name__}")
    if misfit := first_misfit(recipe):
        raise RequestError(f"recipe {path}: {misfit}")
    return recipe


def find_recipe(path: str | Path) -> Path | None:
    """Find the file of a recipe; a file of this path precedes a recipe of this name."""
    return Path(path) if Path(path).is_file() else RECIPES.find(str(path))


def find_manifest(recipe: Recipe, path: str | Path) -> Path:
    """Find the recipe's manifest: from the working directory, from a folder above the recipe file, or by its name.

    Raises:
        RequestError: the manifest does not exist there.
    """
    file = find_recipe(path) or Path(path)
    places = [Path(recipe.manifest), *(folder / recipe.manifest for folder in file.resolve().parents)]
    for place in places:
        if place.is_file():
            return place
    if shipped := MANIFESTS.find(recipe.manifest):
        return shipped
    hint = near_name(Path(recipe.manifest)) or MANIFESTS.hint(recipe.manifest)
    raise RequestError(f"recipe {recipe.name}: manifest {recipe.manifest} not found; --set manifest=PATH{hint}")


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let the code inside import modules of a folder; they are forgotten, as the next recipe's may have their names."""
    before = dict(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name, module in sys.modules.items() if name not in before and _lies_in(module, folder)]:
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and folder in Path(file).resolve().parents
