"""Stage 3 on toy data after tiny_cotrain, evaluated on held-out clips; takes a minute on two CPU cores."""

from vita_data.types import Split, Stage
from vita_model.training.recipes.presets import tiny_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 300


def recipe() -> Recipe:
    return Recipe(
        name="tiny_finetune",
        stage=Stage.FINETUNE,
        manifest="manifests/toy_finetune.toml",
        num_steps=_NUM_STEPS,
        batch_size=16,
        model=tiny_codes(),
        optimizer=OptimizerConfig(lr=5e-4, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=_NUM_STEPS,
        report_every=25,
        eval_split=Split.VAL,
    )
