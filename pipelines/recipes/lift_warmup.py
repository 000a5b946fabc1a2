"""Stage 1 of the closed loop on scripted Lift demonstrations; takes minutes on two CPU cores."""

from vita_data.types import Stage, Starts, WindowSpec
from vita_model.training.recipes.presets import tiny_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_FRAME_INTERVAL_S = 0.15
"""Interval of futures, as in co-training. It is short, because a demonstration lasts only two seconds."""
_NUM_STEPS = 1500


def recipe() -> Recipe:
    return Recipe(
        name="lift_warmup",
        stage=Stage.WARMUP,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size={"video": 16, "action": 64, "paired": 16},
        windows=WindowSpec(
            starts=Starts.ROWS,
            horizon=12,
            futures=1,
            frame_interval_s=_FRAME_INTERVAL_S,
            min_futures=1,
            chunk_s=_FRAME_INTERVAL_S,
        ),
        model=tiny_codes(),
        optimizer=OptimizerConfig(lr=2e-3, ramp_steps=20, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=250,
    )
