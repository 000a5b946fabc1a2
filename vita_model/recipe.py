"""What a recipe file returns: one frozen value that says all about a run except where shards and results lie.

A recipe is a Python file with a function `recipe() -> Recipe`; `--set KEY=VALUE` changes single fields of its value.
"""

import ast
import dataclasses
import difflib
import importlib.util
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from types import UnionType
from typing import TypeVar

from vita_data.errors import RequestError
from vita_data.types import Stage, WindowSpec
from vita_model.losses import LossConfig
from vita_model.vita import VitaConfig

Config = TypeVar("Config")


class Schedule(StrEnum):
    """What follows the linear ramp of the learning rate."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(StrEnum):
    """Number format of matrix products; weights, losses and the codebook stay float32."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW (VITA table 11: 1e-4).

    Assumes: betas, decay on matrices only, clipping, ramp and schedule; the paper is silent.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ramp_steps: int = 1000
    schedule: Schedule = Schedule.CONSTANT
    schedule_steps: int = 100_000
    """Steps after which the cosine rests at a tenth; `--steps` shortens a run without bending the schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training run."""

    name: str
    stage: Stage
    manifest: str
    """Path of the mixture, from the working directory or from a folder above the recipe."""
    num_steps: int
    batch_size: int | Mapping[str, int]
    """Of the whole batch; one number, or one a modality."""
    seed: int = 0
    windows: WindowSpec | None = None
    """None: the stage's own windows."""
    modality_steps: Mapping[str, float] | None = None
    """Share of steps a modality; None: the stage's own."""
    num_supervised_frames: int | None = None
    """Futures decoded per co-train step, drawn anew each step; None: all."""
    init: str | None = None
    """Run whose components are the start (stage hand-over)."""
    model: VitaConfig = field(default_factory=VitaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    precision: Precision = Precision.BF16
    save_every: int = 1000
    keep_last: int = 3
    """Checkpoints left in the run, older ones are removed; 0 keeps all."""
    report_every: int = 10


def load_recipe(path: Path) -> Recipe:
    """Call the function `recipe` of a Python file.

    Raises:
        RequestError: no such file, it does not run, or it gives no Recipe.
    """
    if not path.is_file():
        raise RequestError(f"no recipe {path}: give a Python file with a function recipe() -> Recipe")
    spec = importlib.util.spec_from_file_location(f"_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{path} is no Python file: give one with a function recipe() -> Recipe")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        recipe = module.recipe()
    except Exception as fault:
        raise RequestError(f"recipe {path} fails: {type(fault).__name__}: {fault}") from fault
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {path}: recipe() gave a {type(recipe).__name__}, not a Recipe")
    return recipe


def find_manifest(recipe: Recipe, path: Path) -> Path:
    """Find the recipe's manifest from the working directory, else from the folders above the recipe file.

    Raises:
        RequestError: it lies in none of them.
    """
    places = [Path(recipe.manifest), *(folder / recipe.manifest for folder in path.resolve().parents)]
    for place in places:
        if place.is_file():
            return place
    raise RequestError(f"recipe {recipe.name} names manifest {recipe.manifest}, which is absent: --set manifest=PATH")


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Apply `KEY=VALUE` settings; KEY is a dotted path such as `optimizer.lr`.

    Raises:
        RequestError: no such field, or a value of another type.
    """
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise RequestError(f"--set {setting}: write KEY=VALUE, for example optimizer.lr=1e-4")
        recipe = _replaced(recipe, key.split("."), text, setting)
    return recipe


def as_json(recipe: Recipe) -> dict[str, object]:
    """Turn a recipe into plain JSON values, as a checkpoint stores it."""
    plain: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def first_difference(saved: object, asked: object, path: str = "") -> str | None:
    """Name the first field in which two recipes (as JSON) differ, with both values."""
    if isinstance(saved, dict) and isinstance(asked, dict):
        for key in sorted(saved.keys() | asked.keys()):
            found = first_difference(saved.get(key), asked.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return None if saved == asked else f"{path} was {saved}, now {asked}"


def _replaced(config: Config, path: list[str], text: str, setting: str) -> Config:
    """Rebuild nested frozen configs with one field changed."""
    hints = typing.get_type_hints(type(config))
    if path[0] not in hints:
        near = difflib.get_close_matches(path[0], hints, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"fields: {', '.join(hints)}"
        raise RequestError(f"--set {setting}: {type(config).__name__} has no field {path[0]!r}; {hint}")
    old = getattr(config, path[0])
    if len(path) > 1 and not dataclasses.is_dataclass(old):
        raise RequestError(f"--set {setting}: {path[0]!r} is a value and has no fields")
    value = _replaced(old, path[1:], text, setting) if len(path) > 1 else _parsed(text, hints[path[0]], setting)
    return dataclasses.replace(config, **{path[0]: value})  # type: ignore[type-var]


def _parsed(text: str, hint: object, setting: str) -> object:
    """Read a value of the annotated type; `none` where the field may be None."""
    options = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if text.lower() == "none" and type(None) in options:
        return None
    kinds = [option for option in options if option is not type(None)]
    for kind in kinds:
        if kind is str:
            return text
        if isinstance(kind, type) and issubclass(kind, Enum) and text in {str(member.value) for member in kind}:
            return kind(text)
        value = _literal(text)
        if kind is float and type(value) is int:
            return float(value)
        origin = typing.get_origin(kind) or kind
        if isinstance(origin, type) and isinstance(value, origin) and isinstance(value, bool) == (kind is bool):
            return value
    raise RequestError(f"--set {setting}: {text!r} is not {' or '.join(_type_name(kind) for kind in kinds)}")


def _literal(text: str) -> object:
    """Read a Python number, tuple, mapping or true/false; a word is None."""
    try:
        value: object = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return None
    return value


def _type_name(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(str(member.value) for member in kind)}"
    return f"of type {getattr(kind, '__name__', str(kind))}"
