"""Stage 2 on the tabletop; start from a run of table_warmup with `--set init=RUN`.

Actions weigh ten times as much as in the paper's sum: their error is a tenth of the others, and a model of this size
would otherwise spend its few steps on the frames.
"""

from vita_data.types import Split, Stage, Starts, WindowSpec
from vita_model.network.configs import LossConfig
from vita_model.training.recipes.presets import TABLE_SECONDS, table_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_NUM_STEPS = 1500


def recipe() -> Recipe:
    return Recipe(
        name="table_cotrain",
        stage=Stage.COTRAIN,
        manifest="manifests/lift.toml",
        num_steps=_NUM_STEPS,
        batch_size=16,
        windows=WindowSpec(starts=Starts.ROWS, horizon=12, futures=1, frame_interval_s=TABLE_SECONDS),
        num_supervised_frames=1,
        loss=LossConfig(action=10.0),
        model=table_codes(),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=50, schedule=Schedule.COSINE, schedule_steps=_NUM_STEPS),
        precision=Precision.FP32,
        save_every=250,
        keep_last=1,
        report_every=100,
        eval_split=Split.VAL,
    )
