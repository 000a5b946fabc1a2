"""Stage 2 on toy data with the tiny model; start from a run of debug_warmup with `--set init=RUN`."""

from vita_data.types import Stage
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe


def recipe() -> Recipe:
    return Recipe(
        name="debug_cotrain",
        stage=Stage.COTRAIN,
        manifest="manifests/toy.toml",
        num_steps=60,
        batch_size=8,
        num_supervised_frames=4,
        model=tiny(),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=5),
        precision=Precision.FP32,
        save_every=20,
        keep_last=2,
    )
