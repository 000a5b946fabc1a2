"""Loads recipes and finds their manifests: by path, or by the name of one that comes with the package."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from vita_data.config.annotated import first_misfit
from vita_data.errors import RequestError, did_you_mean
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
            recipe = _defined(module, str(path))()
    except _NoRecipeError:
        raise
    except (Exception, SystemExit) as fault:
        told = f"{type(fault).__name__}: {fault}{_meant(str(fault))}{_line_of(fault, file)}"
        raise RequestError(f"recipe {path} failed: {told}") from fault
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {path}: expected recipe() to return a Recipe, got {type(recipe).__name__}")
    if misfit := first_misfit(recipe):
        raise RequestError(f"recipe {path}: {misfit}")
    return recipe


class _NoRecipeError(RequestError):
    """The file is a Python file without the function."""


def _defined(module: ModuleType, path: str) -> Callable[[], object]:
    found: object = getattr(module, "recipe", None)
    if not callable(found):
        got = "none" if found is None else f"{type(found).__name__} `recipe`"
        raise _NoRecipeError(f"recipe {path}: expected a function `recipe()` that returns a Recipe, found {got}")
    return found


def _meant(told: str) -> str:
    """Suggest the config's field for an unknown keyword; newer Pythons do it themselves."""
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'$", told)
    if unknown is None:
        return ""
    known = [field.name for kind in _configs(Recipe) if kind.__name__ == unknown[1] for field in fields(kind)]
    near = did_you_mean(unknown[2], known)
    return near and f"; {near}"


def _configs(kind: type) -> Iterator[type]:
    """Yield a dataclass and those of its fields, at any depth."""
    yield kind
    for hint in get_type_hints(kind).values():
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _configs(hint)


def _line_of(fault: BaseException, file: Path) -> str:
    """Say where in the recipe, or in a file beside it, a fault came from; a syntax error says it itself."""
    folder = file.resolve().parent
    frames = traceback.extract_tb(fault.__traceback__)
    mine = [frame for frame in frames if frame.filename[0] != "<" and Path(frame.filename).resolve().parent == folder]
    return f" ({mine[-1].filename}, line {mine[-1].lineno})" if mine else ""


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
