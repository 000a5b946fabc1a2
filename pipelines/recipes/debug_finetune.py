"""Stage 3 on toy data with the tiny model; start from a run of debug_cotrain with `--set init=RUN`."""

from vita_data.types import Stage
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe


def recipe() -> Recipe:
    return Recipe(
        name="debug_finetune",
        stage=Stage.FINETUNE,
        manifest="manifests/toy_finetune.toml",
        num_steps=60,
        batch_size=8,
        model=tiny(),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=5),
        precision=Precision.FP32,
        save_every=20,
        keep_last=2,
    )
