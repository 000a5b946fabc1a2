"""Stage 1 on toy data, long enough to compare with trivial predictors; takes minutes on two CPU cores."""

from vita_data.types import Stage
from vita_model.training.recipes.presets import tiny_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 1500


def recipe() -> Recipe:
    return Recipe(
        name="tiny_warmup",
        stage=Stage.WARMUP,
        manifest="manifests/toy.toml",
        num_steps=_NUM_STEPS,
        batch_size={"video": 16, "action": 64, "paired": 16},
        model=tiny_codes(),
        optimizer=OptimizerConfig(lr=2e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=_NUM_STEPS,
        report_every=25,
    )
