"""Stage 3 of the closed loop; start from a run of lift_cotrain with `--set init=RUN`."""

from vita_data.types import CameraRole, Stage, Starts, WindowSpec
from vita_model.training.recipes.presets import tiny_codes, with_states
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_FRAME_INTERVAL_S = 0.15
"""Interval of the co-trained run's futures, for previews; this stage decodes no frames."""
_VIEWS = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
_NUM_STEPS = 1500


def recipe() -> Recipe:
    return Recipe(
        name="lift_finetune",
        stage=Stage.FINETUNE,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size=64,
        windows=WindowSpec(starts=Starts.ROWS, horizon=12, futures=0, frame_interval_s=_FRAME_INTERVAL_S, views=_VIEWS),
        model=with_states(tiny_codes()),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=50, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=250,
    )
