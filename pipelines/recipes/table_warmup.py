"""Stage 1 on the tabletop, whose demonstrations `vita-eval tabletop record` writes; for the demo and its policy."""

from vita_data.types import Split, Stage, Starts, WindowSpec
from vita_model.training.recipes.presets import TABLE_SECONDS, table_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 1000


def recipe() -> Recipe:
    return Recipe(
        name="table_warmup",
        stage=Stage.WARMUP,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size={"video": 16, "action": 64, "paired": 16},
        windows=WindowSpec(
            starts=Starts.ROWS,
            horizon=12,
            futures=1,
            frame_interval_s=TABLE_SECONDS,
            min_futures=1,
            chunk_s=TABLE_SECONDS,
        ),
        model=table_codes(),
        optimizer=OptimizerConfig(lr=2e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=100,
        eval_split=Split.VAL,
    )
