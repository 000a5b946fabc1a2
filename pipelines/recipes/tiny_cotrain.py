"""Stage 2 on toy data after tiny_warmup, evaluated on held-out clips; takes minutes on two CPU cores."""

from vita_data.types import Split, Stage
from vita_model.training.recipes.presets import tiny_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 600


def recipe() -> Recipe:
    return Recipe(
        name="tiny_cotrain",
        stage=Stage.COTRAIN,
        manifest="manifests/toy.toml",
        num_steps=_NUM_STEPS,
        batch_size=16,
        num_supervised_frames=2,
        model=tiny_codes(),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=_NUM_STEPS,
        report_every=25,
        eval_split=Split.VAL,
    )
