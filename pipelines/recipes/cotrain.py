"""Stage 2 at full size: train the backbone and both decoders (VITA table 11: 100k steps, batch 1024).

Fits 16 A100 with 80 GB (two nodes, each with one copy of the weights) and 8 H200.
"""

from vita_data.types import Stage
from vita_model.training.recipes.recipe import OptimizerConfig, Parallel, Recipe, Schedule


def recipe() -> Recipe:
    return Recipe(
        name="cotrain",
        stage=Stage.COTRAIN,
        manifest="manifests/pretrain.toml",
        num_steps=100_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=1e-4, schedule=Schedule.COSINE, schedule_steps=100_000),
        parallel=Parallel.FSDP,
        shard_ranks=8,
        recompute=True,
        accumulate=1,
        keep_every=10_000,
    )
