"""Stage 1 on toy data with the tiny model: 100 steps, a few seconds on two CPU cores."""

from dataclasses import replace

from vita_data.types import Stage
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe


def recipe() -> Recipe:
    model = tiny()  # quantization begins early, so that a short run has codes
    return Recipe(
        name="debug_warmup",
        stage=Stage.WARMUP,
        manifest="manifests/toy.toml",
        num_steps=100,
        batch_size=8,
        model=replace(model, codebook=replace(model.codebook, continuous_updates=5)),
        optimizer=OptimizerConfig(lr=2e-3, ramp_steps=5),
        precision=Precision.FP32,
        save_every=20,
        keep_last=2,
    )
