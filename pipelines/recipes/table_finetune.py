"""Stage 3 on the tabletop; start from a run of table_cotrain with `--set init=RUN`."""

from dataclasses import replace

from vita_data.types import CameraRole, Split
from vita_model.training.recipes.lifting import lifting_finetune
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return replace(
        lifting_finetune("table_finetune", num_steps=800, batch_size=32, views=(CameraRole.PRIMARY,)),
        report_every=100,
        eval_split=Split.VAL,
    )
