"""Does warmup learn codes that carry motion? Trains on the synthetic world and checks figures against limits.

    python -m pipelines.latent_gate [--recipe shipped|unpaired|before] [--seed N] [--steps N] [--json]

It takes about a minute and a half on one core; the exit code is 1 if a limit is missed. `before` is the negative
control, a warmup without the measures that make codes carry motion: it must miss limits.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipelines.latent_world import PAIRED_MIX, SIZE, UNPAIRED_MIX, Scenes, WorldMix, WorldStream, draw_scenes
from vita_data.command.exits import OneLineParser
from vita_data.types import Json, Stage
from vita_model.network.configs import LossConfig, PositionStart, TransformerConfig, VitaConfig
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.evaluation.evaluate import evaluate
from vita_model.training.evaluation.latents import explained
from vita_model.training.recipes.presets import tiny_codes, without_pairs
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule, resolved
from vita_model.training.stages import RULES
from vita_model.training.train import Trainer

NUM_STEPS = 900
_PATCH = 4
NARROW_BLOCKS = TransformerConfig(width=32, num_layers=2, num_heads=4, ffn_width=128)
NARROW_PATCH = 8
_HELD_OUT = 10_000_000
"""Seeds from this number on are never used for training."""
_NUM_BATCHES, _BATCH = 8, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit for a figure, or for its ratio to another one."""

    figure: str
    over: str | None = None
    most: float | None = None
    least: float | None = None

    def value(self, figures: Mapping[str, float]) -> float:
        """Give the value to check."""
        return figures[self.figure] / (figures[self.over] if self.over else 1.0)

    def line(self, figures: Mapping[str, float]) -> str:
        """Format the value and the limit."""
        name = self.figure if self.over is None else f"{self.figure} / {self.over}"
        bound = f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"
        word = "ok" if self.is_kept(figures) else "MISSED"
        return f"{word:6}  {name}: {self.value(figures):.4g} ({bound})"

    def is_kept(self, figures: Mapping[str, float]) -> bool:
        """Tell whether the value is within the limit."""
        value = self.value(figures)
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


PAIRED_LIMITS = (
    Limit(figure="frames/l1", over="frames/shuffled_l1", most=0.85),
    Limit(figure="frames/l1", over="frames/mean_latent_l1", most=0.90),
    Limit(figure="frames/l1", over="frames/copy_l1", most=0.80),
    Limit(figure="world/motion_r2", least=0.75),
    Limit(figure="world/motion_r2", over="world/place_r2_or_tiny", least=1.0),
    Limit(figure="codes/rank_video", least=2.0),
    Limit(figure="cross/action_mse", over="cross/action_mean_mse", most=0.15),
    Limit(figure="codes/agreement", least=0.2),
    Limit(figure="codes/agreement", over="codes/agreement_chance", least=10.0),
    Limit(figure="codes/least_norm", least=1e-3),
)
UNPAIRED_LIMITS = (
    Limit(figure="frames/l1", over="frames/shuffled_l1", most=0.90),
    Limit(figure="world/motion_r2", least=0.5),
    Limit(figure="codes/least_norm", least=1e-3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A variant of warmup: its model, its batches and its limits."""

    change: Callable[[VitaConfig], VitaConfig]
    """Change of the default model."""
    mix: WorldMix
    limits: tuple[Limit, ...]


def _as_shipped(model: VitaConfig) -> VitaConfig:
    return model


def _before(model: VitaConfig) -> VitaConfig:
    """Remove the measures that make codes carry motion; this was the default earlier."""
    start = PositionStart.NORMAL
    return replace(
        model,
        visual_encoder=replace(model.visual_encoder, positions=start),
        visual_decoder=replace(
            model.visual_decoder, positions=start, predicts_features=False, sees_pixels=False, residual=False
        ),
        codebook=replace(model.codebook, continuous_updates=0),
    )


VARIANTS: Mapping[str, Variant] = {
    "shipped": Variant(change=_as_shipped, mix=PAIRED_MIX, limits=PAIRED_LIMITS),
    "unpaired": Variant(change=without_pairs, mix=UNPAIRED_MIX, limits=UNPAIRED_LIMITS),
    "before": Variant(change=_before, mix=UNPAIRED_MIX, limits=PAIRED_LIMITS),
}


def world_model() -> VitaConfig:
    """Make `tiny_codes` for images of 32 px."""
    model = tiny_codes()
    return replace(
        model,
        visual=replace(model.visual, input_size=SIZE, position_size=SIZE, patch_size=_PATCH),
        visual_decoder=replace(model.visual_decoder, output_size=SIZE),
    )


def narrow_world_model() -> VitaConfig:
    """Make `world_model` at half the width and with larger patches, for experiments with many runs."""
    model = world_model()
    return replace(
        model,
        visual=replace(model.visual, encoder=NARROW_BLOCKS, patch_size=NARROW_PATCH),
        visual_encoder=replace(model.visual_encoder, blocks=NARROW_BLOCKS),
        visual_decoder=replace(model.visual_decoder, blocks=NARROW_BLOCKS),
        action_decoder=replace(model.action_decoder, blocks=NARROW_BLOCKS),
    )


def world_recipe(variant: Variant, *, seed: int, num_steps: int = NUM_STEPS) -> Recipe:
    """Make the warmup recipe of a variant."""
    return resolved(short_recipe(Stage.WARMUP, variant.change(world_model()), seed=seed, num_steps=num_steps))


def short_recipe(stage: Stage, model: VitaConfig, *, seed: int, num_steps: int) -> Recipe:
    """Make the recipe of a short stage on a world; evaluation is done by the caller."""
    return Recipe(
        name="world", stage=stage, manifest="", num_steps=num_steps, batch_size=1, seed=seed, model=model,
        precision=Precision.FP32, save_every=num_steps, report_every=max(num_steps // 3, 1), eval_batches=0,
        optimizer=OptimizerConfig(lr=3e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=num_steps),
    )  # fmt: skip


def trained(variant: Variant, recipe: Recipe, report: Callable[[str], None]) -> Vita:
    """Train a recipe on the world, in a temporary run folder."""
    with tempfile.TemporaryDirectory() as folder:
        return fitted(recipe, WorldStream(variant.mix, seed=recipe.seed), Path(folder), statistics={}, report=report)


def fitted(recipe: Recipe, stream: WorldStream, run: Path, *, statistics: Json, report: Callable[[str], None]) -> Vita:
    """Train a recipe on a world's batches to the end; on SIGTERM, exit, because a partial run is useless."""
    trainer = Trainer(recipe, stream, run, statistics=statistics, report=report)
    trainer.start()
    if trainer.fit().interrupted:
        raise SystemExit(128 + signal.SIGTERM)
    return trainer.model


def measured(model: Vita, draw: Callable[[int, int], Scenes] = draw_scenes) -> dict[str, float]:
    """Give the latent report on held-out windows, and how well codes explain the true motion and position."""
    scenes = [draw(_BATCH, _HELD_OUT + number) for number in range(_NUM_BATCHES)]
    batches = [one.batch for one in scenes]
    figures = evaluate(model, Stage.WARMUP, batches, {}, LossConfig())
    codes, num_codes = torch.cat([_codes(model, one) for one in scenes]), model.config.codebook.num_codes
    for name in ("motion", "place"):
        values = torch.cat([getattr(one, name)[:, :2] for one in scenes])
        figures[f"world/{name}_r2"] = explained(codes, values, num_codes)
    figures["world/place_r2_or_tiny"] = max(figures["world/place_r2"], 1e-6)
    return figures


@torch.no_grad()
def _codes(model: Vita, scenes: Scenes) -> torch.Tensor:
    model.eval()
    (quantized,) = RULES[Stage.WARMUP].predict(model, scenes.batch, Draws()).quantized
    if quantized.indices is None:
        raise ValueError(
            "the run ended in its continuous phase, before it had codes; train longer, or lower continuous_updates"
        )
    return quantized.indices[:, 0]


def main(argv: list[str] | None = None) -> int:
    """Run the gate for one variant."""
    parser = OneLineParser(prog="latent_gate", description="Check that warmup learns codes that carry motion.")
    parser.add_argument("--recipe", choices=sorted(VARIANTS), default="shipped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    variant = VARIANTS[arguments.recipe]
    recipe = world_recipe(variant, seed=arguments.seed, num_steps=arguments.steps)
    model = trained(variant, recipe, lambda line: print(line, file=sys.stderr))
    figures = measured(model)
    print(json.dumps(figures, indent=1, sort_keys=True) if arguments.json else "\n".join(
        limit.line(figures) for limit in variant.limits
    ))  # fmt: skip
    return 0 if all(limit.is_kept(figures) for limit in variant.limits) else 1


if __name__ == "__main__":
    sys.exit(main())
