"""Stage 1 at full size: both auto-encoders and the shared codebook (VITA table 11: 200k steps, batch 1024, 1e-4)."""

from vita_data.types import Stage
from vita_model.training.recipes.recipe import OptimizerConfig, Recipe, Schedule


def recipe() -> Recipe:
    return Recipe(
        name="warmup",
        stage=Stage.WARMUP,
        manifest="manifests/pretrain.toml",
        num_steps=200_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=1e-4, schedule=Schedule.CONSTANT),
    )
