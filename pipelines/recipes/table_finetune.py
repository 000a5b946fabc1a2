"""Stage 3 on the tabletop; start from a run of table_cotrain with `--set init=RUN`."""

from vita_data.types import Split, Stage, Starts, WindowSpec
from vita_model.training.recipes.presets import TABLE_SECONDS, table_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 800


def recipe() -> Recipe:
    return Recipe(
        name="table_finetune",
        stage=Stage.FINETUNE,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size=32,
        windows=WindowSpec(starts=Starts.ROWS, horizon=12, futures=0, frame_interval_s=TABLE_SECONDS),
        model=table_codes(),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=50, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=100,
        eval_split=Split.VAL,
    )
