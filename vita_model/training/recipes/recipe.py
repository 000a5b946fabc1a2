"""The `Recipe`: all settings of a run except the paths of shards and results.

A recipe is a Python file with a function `recipe() -> Recipe`; `--set KEY=VALUE` overrides single fields.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

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
from vita_data.loader.options import LoaderOptions
from vita_data.loader.order.request import default_windows, drawn_modalities
from vita_data.storage.files import expand_home
from vita_data.types import CameraRole, DrawOrder, Manifest, Modality, Split, Stage, Starts, WindowSpec
from vita_model.network.configs import CodebookConfig, Component, LossConfig, VitaConfig
from vita_model.network.reasoning import VisualReasoning
from vita_model.training.recipes.augmentation import AugmentationConfig

_Config = TypeVar("_Config")
MAX_STEPS = 10**8 - 1
"""Names of checkpoints and previews have eight digits."""
_MAX_RATE = 1e15
"""The product of two such numbers still fits float32; AdamW raises an error on overflow."""


class Parallel(StrEnum):
    """How the weights are placed on several ranks: a full copy on each (DDP), or sharded (FSDP2)."""

    DDP = "ddp"
    FSDP = "fsdp"


class Schedule(StrEnum):
    """What follows the linear ramp of the learning rate."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(StrEnum):
    """Number format of matrix products; weights, losses and the codebook stay in float32."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW (VITA table 11: 1e-4).

    Assumes: betas, decay on matrices only, clipping, ramp and schedule; the paper does not give them.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ramp_steps: int = 1000
    schedule: Schedule = Schedule.CONSTANT
    schedule_steps: int = 100_000
    """Steps until the cosine schedule reaches a tenth of the peak; `--steps` does not change the schedule."""

    def __post_init__(self) -> None:
        """Refuse values that AdamW or the schedule cannot use; raises RequestError."""
        require_positive(self, "lr", "eps", "max_grad_norm", most=_MAX_RATE)
        require_not_negative(self, "weight_decay", most=_MAX_RATE)
        betas: Sequence[object] = self.betas  # a recipe's value need not have the annotated type
        fits = [isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas] == [True, True]
        require(self, "betas", fits=fits, wanted="two numbers in [0, 1)")
        require_whole(self, "ramp_steps", least=0)
        require_whole(self, "schedule_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of a training run."""

    name: str
    stage: Stage
    manifest: str
    """Path of the mixture, relative to the working directory or to a folder above the recipe."""
    num_steps: int
    batch_size: int | Mapping[str, int]
    """Samples in the global batch: one number, or one per modality."""
    seed: int = 0
    windows: WindowSpec | None = None
    """None: the stage's default windows."""
    modality_steps: Mapping[str, float] | None = None
    """Share of steps per modality; None: the stage's default."""
    order: DrawOrder = field(default_factory=DrawOrder)
    """Order of each source's windows; `window` stays within a few shards at a time."""
    length: int | None = None
    """Common number of futures, latents and chunk steps (table 9); None: as set in windows and model."""
    num_supervised_frames: int | None = None
    """Number of futures decoded in a co-training step, drawn anew each step; None: all."""
    num_taught_transitions: int | None = None
    """Number of transitions whose latent tokens are supervised in a co-training step (`loss.tokens`), drawn anew each
    step; None: all. A smaller number is cheaper, because the frozen encoder encodes only their frames."""
    init: str | None = None
    """Run of the previous stage, whose components are the initial weights."""
    init_parts: tuple[str, ...] | None = None
    """Components to take from that run; the others are initialized anew (table 7). None: all that it has."""
    fraction: float = 1.0
    """Fraction of each task's episodes to train on, multiplied with the manifest's own fractions (table 8)."""
    save_steps: tuple[int, ...] = ()
    """Steps whose checkpoints are always saved and kept, independent of `save_every` and `keep_last` (table 8)."""
    eval_split: Split | None = None
    """Split of the same sources for evaluation; None: the next training batches."""
    model: VitaConfig = field(default_factory=VitaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    precision: Precision = Precision.BF16
    parallel: Parallel = Parallel.DDP
    """How weights are placed if there are several ranks."""
    shard_ranks: int | None = None
    """With `fsdp`, number of ranks that share one copy of the weights, such as the GPUs of a node; None, or more than
    there are: all ranks."""
    accumulate: int = 1
    """Number of micro-batches that each rank splits its part of a batch into.

    Assumes: their losses are averaged, and the codebook learns from each of them in turn.
    """
    compile: bool = False
    """Compile the transformer blocks: takes minutes at the start, but makes steps faster on a GPU."""
    recompute: bool = False
    """Activation checkpointing: trained blocks keep only their inputs and are recomputed in the backward pass."""
    ema_decay: float | None = None
    """Decay of moving averages of the weights, stored as averages.safetensors; None: no averages."""
    max_bad_steps: int = 20
    """Number of steps that may be skipped because their loss or gradient is not finite; one more ends the run."""
    save_every: int = 1000
    keep_last: int | None = 3
    """Number of newest checkpoints to keep; None: keep all."""
    keep_every: int | None = None
    """Checkpoints of steps that this number divides are kept for good; None: none."""
    report_every: int = 10
    """Steps between lines in a log; half a minute after the last line, the next step has one too."""
    eval_batches: int = 8
    """Batches per evaluation, which also measures trivial predictors for comparison; 0: no evaluation.

    More are drawn until each modality of the stage has had one.
    """
    eval_every: int | None = None
    """Steps between evaluations, always on the same windows of `eval_split`; None: only after the last step."""

    def __post_init__(self) -> None:
        """Refuse invalid values; the loader checks what depends on the shards.

        Raises:
            RequestError: a value is invalid; the message names the field.
        """
        require_whole(self, "num_steps", most=MAX_STEPS)
        require_whole(self, "save_every", "report_every", "accumulate")
        if self.ema_decay is not None:
            require_part(self, "ema_decay")
        require_whole(self, "seed", least=0, most=MAX_SEED)
        require_whole(self, "eval_batches", "max_bad_steps", least=0)
        require(self, "fraction", fits=is_finite(self.fraction) and 0 < self.fraction <= 1, wanted="above 0, at most 1")
        steps: Sequence[object] = self.save_steps  # a recipe's value need not have the annotated type
        fits = all(is_whole(step, least=1) for step in steps)
        require(self, "save_steps", fits=fits, wanted="whole numbers, at least 1")
        if self.init_parts is not None:
            require(self, "init_parts", fits=set(self.init_parts) <= set(Component), wanted=", ".join(Component))
        for name in (
            "length",
            "num_supervised_frames",
            "num_taught_transitions",
            "keep_last",
            "keep_every",
            "shard_ranks",
            "eval_every",
        ):
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
        """List modalities in addition to the stage's usual ones: paired windows in warmup, which help the codes.

        Assumes: they take half of the steps, unless `modality_steps` says otherwise. Without `loss.cross`, or with
            separate codes per modality, warmup has no paired windows, as in the paper.
        """
        teaches = self.stage is Stage.WARMUP and self.loss.cross > 0 and self.model.codebook.shared
        return (Modality.PAIRED,) if teaches else ()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """List the modalities of the run's batches."""
        return drawn_modalities(self.stage, self.modality_steps, self.also)

    @property
    def draws_pairs_in_warmup(self) -> bool:
        """Tell whether this is a warmup with paired windows."""
        return self.stage is Stage.WARMUP and Modality.PAIRED in self.modalities

    @property
    def takes_paired_alone(self) -> bool:
        """Tell whether only paired batches have a loss: co-training without visual prediction."""
        return self.stage is Stage.COTRAIN and self.model.cot.visual is VisualReasoning.NONE


def own_windows(recipe: Recipe) -> WindowSpec | None:
    """Give the default windows of a recipe; None in fine-tuning, where they depend on the sources' cameras."""
    if recipe.draws_pairs_in_warmup:
        return _PAIR_WINDOWS
    return None if recipe.stage is Stage.FINETUNE else default_windows(recipe.stage, ())


_PAIR_WINDOWS = WindowSpec(starts=Starts.KEYFRAMES, horizon=12, futures=1, chunk_s=1.0)
_CONTINUOUS_PART, _REPLACED_PART = 1 / 3, 0.8
"""Fraction of a run before codes are used, and fraction in which dead codes are replaced."""


def resolved(recipe: Recipe) -> Recipe:
    """Fill in all fields that follow from others: from `length`, from reasoning without frames, and `~` in paths.

    In a warmup with paired windows, chunks cover the second between the two frames, whatever the source's rate. Unset
    phases of the codebook follow `num_steps`. `--steps` is applied later, so that stopping a run early does not change
    them.

    Raises:
        RequestError: the model is too small for the length, or has adapters in another stage than fine-tuning.
    """
    recipe = _with_home(recipe)
    if (rank := recipe.model.backbone.lora_rank) and recipe.stage is not Stage.FINETUNE:
        raise RequestError(
            f"recipe {recipe.name}: model.backbone.lora_rank={rank} trains adapters in fine-tuning, but the stage is "
            f"{recipe.stage}; --set model.backbone.lora_rank=0"
        )
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
    """Set when quantization begins and when the replacement of dead codes ends."""
    codebook, updates = recipe.model.codebook, recipe.num_steps * recipe.accumulate
    continuous, last = codebook.continuous_updates, codebook.last_replacement
    if continuous is None and recipe.stage is Stage.WARMUP:
        continuous = int(_CONTINUOUS_PART * updates)
    last = int(_REPLACED_PART * updates) if last is None else last
    return replace(codebook, continuous_updates=continuous, last_replacement=last)


def _with_home(config: _Config) -> _Config:
    """Expand a leading `~` in every string of a config and of its nested configs."""
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
    """Apply the recipe's `fraction` to every source of a manifest."""
    entries = tuple(replace(entry, fraction=entry.fraction * recipe.fraction) for entry in manifest.entries)
    return replace(manifest, entries=entries)


@contextmanager
def building(recipe: Recipe) -> Iterator[None]:
    """Report errors while a recipe's model is built, such as sizes that do not match, as errors of the recipe.

    Raises:
        RequestError: the model cannot be built.
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


def differences(saved: object, asked: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """List the fields in which two recipes (as JSON) differ, with the values of both."""
    if isinstance(saved, dict) and isinstance(asked, dict):
        for key in sorted(saved.keys() | asked.keys()):
            yield from differences(saved.get(key), asked.get(key), f"{path}.{key}" if path else str(key))
    elif saved != asked:
        yield path, saved, asked


def first_difference(saved: object, asked: object, path: str = "") -> str | None:
    """Name the first field in which two recipes (as JSON) differ, with both values."""
    for field_path, before, after in differences(saved, asked, path):
        return f"{field_path} was {before}, now {after}"
    return None
