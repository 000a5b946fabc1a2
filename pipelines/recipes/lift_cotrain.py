"""Stage 2 of the closed loop; start from a run of lift_warmup with `--set init=RUN`.

It uses both cameras, while the paper's pre-training mixes single-camera datasets: fine-tuning freezes the backbone,
which would otherwise never have been trained on the wrist camera.
"""

from vita_data.types import CameraRole, Stage, Starts, WindowSpec
from vita_model.training.recipes.presets import tiny_codes, with_states
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_FRAME_INTERVAL_S = 0.15
_VIEWS = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
_NUM_STEPS = 2500


def recipe() -> Recipe:
    return Recipe(
        name="lift_cotrain",
        stage=Stage.COTRAIN,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size=32,
        windows=WindowSpec(
            starts=Starts.ROWS, horizon=12, futures=12, frame_interval_s=_FRAME_INTERVAL_S, views=_VIEWS
        ),
        num_supervised_frames=1,
        num_taught_transitions=2,
        model=with_states(tiny_codes()),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=50, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=250,
        eval_batches=1,
    )
