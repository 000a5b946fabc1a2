"""What a recipe file returns: one frozen value that says all about a run except where shards and results lie.

A recipe is a Python file with a function `recipe() -> Recipe`; `--set KEY=VALUE` changes single fields of its value.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from vita_data.config.annotated import first_misfit
from vita_data.config.checks import (
    MAX_SEED,
    is_finite,
    is_whole,
    require,
    require_not_negative,
    require_part,
    require_positive,
    require_whole,
)
from vita_data.errors import RequestError
from vita_data.loader.order.request import default_windows, drawn_modalities
from vita_data.storage.files import expand_home
from vita_data.types import CameraRole, DrawOrder, Manifest, Modality, Split, Stage, Starts, WindowSpec
from vita_model.network.configs import CodebookConfig, Component, LossConfig, VitaConfig
from vita_model.network.reasoning import VisualReasoning
from vita_model.training.recipes.loading import LoaderConfig

_Config = TypeVar("_Config")
MAX_STEPS = 10**8 - 1
"""Checkpoints and previews are named by eight digits."""
_MAX_RATE = 1e15
"""Products of two such numbers still fit float32, where AdamW would raise otherwise."""


class Parallel(StrEnum):
    """Where the weights of a run on several ranks lie: whole on each (DDP), or cut into as many parts (FSDP2)."""

    DDP = "ddp"
    FSDP = "fsdp"


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

    def __post_init__(self) -> None:
        """Refuse what AdamW or the schedule cannot take; raises RequestError."""
        require_positive(self, "lr", "eps", "max_grad_norm", most=_MAX_RATE)
        require_not_negative(self, "weight_decay", most=_MAX_RATE)
        betas: Sequence[object] = self.betas  # a recipe's value need not have the annotated type
        fits = [isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas] == [True, True]
        require(self, "betas", fits=fits, wanted="two numbers in [0, 1)")
        require_whole(self, "ramp_steps", least=0)
        require_whole(self, "schedule_steps")


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
    order: DrawOrder = field(default_factory=DrawOrder)
    """Of the windows of each source; `window` stays within a few shards at a time."""
    length: int | None = None
    """Futures, latents and steps of a chunk, all alike (table 9); None: what windows and model say."""
    num_supervised_frames: int | None = None
    """Futures decoded per co-train step, drawn anew each step; None: all."""
    num_taught_transitions: int | None = None
    """Transitions whose latent tokens are taught per co-train step (`loss.tokens`), drawn anew each step; None: all.
    A few cost less: the frozen encoder sees their frames alone."""
    init: str | None = None
    """Run whose components are the start (stage hand-over)."""
    init_parts: tuple[str, ...] | None = None
    """Which components of that run are taken, the others start anew (table 7); None: all that it has."""
    fraction: float = 1.0
    """Part of the episodes of each task that is trained on, beside what the manifest says (table 8)."""
    save_steps: tuple[int, ...] = ()
    """Steps whose checkpoints stay, whatever `save_every` and `keep_last` say (table 8)."""
    eval_split: Split | None = None
    """Split of the same sources that the result is measured on; None: the batches that would come next."""
    model: VitaConfig = field(default_factory=VitaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    precision: Precision = Precision.BF16
    parallel: Parallel = Parallel.DDP
    """Where weights lie if there are several ranks."""
    accumulate: int = 1
    """Micro-batches that a rank's part of a batch is cut into.

    Assumes: their losses are averaged, and the codebook learns from each in turn.
    """
    compile: bool = False
    """Compile the transformer blocks: minutes at the start, faster steps on a GPU."""
    recompute: bool = False
    """Activation checkpointing: blocks that train keep their inputs alone and are computed again in backward."""
    ema_decay: float | None = None
    """Keep moving averages of the weights, stored as averages.safetensors; None: none are kept."""
    save_every: int = 1000
    keep_last: int | None = 3
    """Checkpoints left in the run, older ones are removed; None: all stay."""
    report_every: int = 10
    eval_batches: int = 8
    """Batches that the result is measured on, beside trivial predictors; 0: it is not measured."""
    eval_every: int | None = None
    """Steps between evaluations, always on the same windows of `eval_split`; None: after the last step alone."""

    def __post_init__(self) -> None:
        """Refuse numbers that no run can have; what the shards must allow is the loader's to check.

        Raises:
            RequestError: names the field.
        """
        require_whole(self, "num_steps", most=MAX_STEPS)
        require_whole(self, "save_every", "report_every", "accumulate")
        if self.ema_decay is not None:
            require_part(self, "ema_decay")
        require_whole(self, "seed", least=0, most=MAX_SEED)
        require_whole(self, "eval_batches", least=0)
        require(self, "fraction", fits=is_finite(self.fraction) and 0 < self.fraction <= 1, wanted="above 0, at most 1")
        steps: Sequence[object] = self.save_steps  # a recipe's value need not have the annotated type
        fits = all(is_whole(step, least=1) for step in steps)
        require(self, "save_steps", fits=fits, wanted="whole numbers, at least 1")
        if self.init_parts is not None:
            require(self, "init_parts", fits=set(self.init_parts) <= set(Component), wanted=", ".join(Component))
        for name in ("length", "num_supervised_frames", "num_taught_transitions", "keep_last", "eval_every"):
            if getattr(self, name) is not None:
                require_whole(self, name)
        sizes = self.batch_size.values() if isinstance(self.batch_size, Mapping) else (self.batch_size,)
        fits = all(is_whole(size, least=1) for size in sizes)
        require(self, "batch_size", fits=fits, wanted="a whole number, at least 1, or one per modality")
        if self.modality_steps is not None:
            fits = all(is_finite(share) and share >= 0 for share in self.modality_steps.values())
            require(self, "modality_steps", fits=fits, wanted="a finite number, 0 or more, per modality")

    @property
    def also(self) -> tuple[Modality, ...]:
        """List the batches that join the stage's usual ones: paired windows in warmup, for what they teach the codes.

        Assumes: they take half of the steps (`modality_steps` says otherwise); without `loss.cross`, or with each
            modality's codes its own, none are drawn, as in the paper.
        """
        teaches = self.stage is Stage.WARMUP and self.loss.cross > 0 and self.model.codebook.shared
        return (Modality.PAIRED,) if teaches else ()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """List the kinds of batch that the run asks for."""
        return drawn_modalities(self.stage, self.modality_steps, self.also)

    @property
    def draws_pairs_in_warmup(self) -> bool:
        """Tell whether warmup asks for paired windows."""
        return self.stage is Stage.WARMUP and Modality.PAIRED in self.modalities

    @property
    def takes_paired_alone(self) -> bool:
        """Tell whether a video batch would have no loss: co-training without anything visual to predict."""
        return self.stage is Stage.COTRAIN and self.model.cot.visual is VisualReasoning.NONE


def own_windows(recipe: Recipe) -> WindowSpec | None:
    """Give the windows of a recipe that names none; None in fine-tuning, where they follow the sources' cameras."""
    if recipe.draws_pairs_in_warmup:
        return _PAIR_WINDOWS
    return None if recipe.stage is Stage.FINETUNE else default_windows(recipe.stage, ())


_PAIR_WINDOWS = WindowSpec(starts=Starts.KEYFRAMES, horizon=12, futures=1, chunk_s=1.0)
_CONTINUOUS_PART, _REPLACED_PART = 1 / 3, 0.8
"""Parts of a run in which encodings have no codes yet, and in which dead codes are replaced."""


def resolved(recipe: Recipe) -> Recipe:
    """Carry what one field says of several into the others: `length`, reasoning without frames, `~` in paths.

    Chunks of a warmup that draws pairs cover the second between the two frames, whatever the source's rate. Phases of
    the codebook that the recipe leaves open follow its `num_steps`; `--steps` comes later, and a run that it cuts short
    is the same run when it goes on.

    Raises:
        RequestError: the model has no room for the length.
    """
    recipe = _with_home(recipe)
    if recipe.takes_paired_alone:
        recipe = replace(recipe, modality_steps={Modality.PAIRED: 1.0})
    if recipe.windows is None and recipe.draws_pairs_in_warmup:
        recipe = replace(recipe, windows=own_windows(recipe))
    recipe = replace(recipe, model=replace(recipe.model, codebook=_phased(recipe)))
    length = recipe.length
    if length is None:
        return recipe
    model = recipe.model
    backbone = replace(model.backbone, num_latents=length * model.visual_encoder.num_latents)
    model = replace(model, backbone=backbone, action_encoder=replace(model.action_encoder, horizon=length))
    return replace(recipe, model=model, windows=_windows_of(recipe, length))


def _phased(recipe: Recipe) -> CodebookConfig:
    """Say when codes begin and when they only settle."""
    codebook, updates = recipe.model.codebook, recipe.num_steps * recipe.accumulate
    continuous, last = codebook.continuous_updates, codebook.last_replacement
    if continuous is None and recipe.stage is Stage.WARMUP:
        continuous = int(_CONTINUOUS_PART * updates)
    last = int(_REPLACED_PART * updates) if last is None else last
    return replace(codebook, continuous_updates=continuous, last_replacement=last)


def _with_home(config: _Config) -> _Config:
    """Write the home folder out in every text of a config, and of those inside it, that begins with `~`."""
    changes: dict[str, object] = {}
    for one in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, one.name)
        if isinstance(value, str) and value.startswith("~"):
            changes[one.name] = expand_home(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = _with_home(value)
            changes |= {one.name: inner} if inner is not value else {}
    return replace(config, **changes) if changes else config  # type: ignore[type-var]


def _windows_of(recipe: Recipe, length: int) -> WindowSpec:
    futures = {Stage.WARMUP: 1, Stage.COTRAIN: length, Stage.FINETUNE: 0}[recipe.stage]
    if recipe.windows is not None:
        return replace(recipe.windows, horizon=length, futures=futures)
    if recipe.stage is Stage.FINETUNE:
        views = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
        return WindowSpec(starts=Starts.ROWS, horizon=length, futures=futures, views=views)
    return WindowSpec(starts=Starts.KEYFRAMES, horizon=length, futures=futures)


def limited(manifest: Manifest, recipe: Recipe) -> Manifest:
    """Take a recipe's part of every source of a manifest."""
    entries = tuple(replace(entry, fraction=entry.fraction * recipe.fraction) for entry in manifest.entries)
    return replace(manifest, entries=entries)


def load_recipe(path: Path) -> Recipe:
    """Call the function `recipe` of a Python file.

    Raises:
        RequestError: no such file, it does not run, or it gives no Recipe, or one with a value of another type.
    """
    if not path.is_file():
        raise RequestError(f"recipe {path} not found; expected a Python file that defines recipe() -> Recipe")
    spec = importlib.util.spec_from_file_location(f"_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RequestError(f"recipe {path}: expected a Python file that defines recipe() -> Recipe")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        recipe = module.recipe()
    except (Exception, SystemExit) as fault:
        raise RequestError(f"recipe {path} failed: {type(fault).__name__}: {fault}") from fault
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {path}: expected recipe() to return a Recipe, got {type(recipe).__name__}")
    if misfit := first_misfit(recipe):
        raise RequestError(f"recipe {path}: {misfit}")
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
    raise RequestError(f"recipe {recipe.name}: manifest {recipe.manifest} not found; --set manifest=PATH")


@contextmanager
def building(recipe: Recipe) -> Iterator[None]:
    """Turn what goes wrong while its model is built into the recipe's fault: sizes that do not fit each other.

    Raises:
        RequestError: it cannot be built.
    """
    try:
        yield
    except (ValueError, RuntimeError, ArithmeticError) as fault:
        what = " ".join(str(fault).split())
        raise RequestError(
            f"recipe {recipe.name}: its model cannot be built: {what}; change it with --set model..."
        ) from fault


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
