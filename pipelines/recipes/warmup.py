"""Stage 1 at full size: both auto-encoders and the shared codebook (VITA table 11: 200k steps, batch 1024, 1e-4).

Fits 16 A100 with 80 GB and 8 H200, with a whole copy of the weights on each.
"""

from vita_data.types import Stage
from vita_model.training.recipes.recipe import OptimizerConfig, Parallel, Recipe, Schedule


def recipe() -> Recipe:
    return Recipe(
        name="warmup",
        stage=Stage.WARMUP,
        manifest="manifests/pretrain.toml",
        num_steps=200_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=1e-4, schedule=Schedule.CONSTANT),
        parallel=Parallel.DDP,
        recompute=True,
        accumulate=1,
        keep_every=10_000,
    )
