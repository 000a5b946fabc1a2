"""Stage 1 on toy data, long enough to be measured beside trivial predictors; minutes on two CPU cores."""

from dataclasses import replace

from vita_data.types import Stage
from vita_model.presets import tiny
from vita_model.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 1500


def recipe() -> Recipe:
    model = tiny()
    codebook = replace(
        model.codebook, num_codes=128, decay=0.95, grace_updates=20, num_recent=512, last_replacement=1200
    )
    return Recipe(
        name="tiny_warmup",
        stage=Stage.WARMUP,
        manifest="manifests/toy.toml",
        num_steps=_NUM_STEPS,
        batch_size={"video": 16, "action": 64},
        model=replace(model, codebook=codebook),
        optimizer=OptimizerConfig(lr=2e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=_NUM_STEPS,
        report_every=25,
    )
