"""Stage 2 on the tabletop; start from a run of table_warmup with `--set init=RUN`."""

from dataclasses import replace

from vita_data.types import CameraRole, Split
from vita_model.training.recipes.lifting import lifting_cotrain
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return replace(
        lifting_cotrain("table_cotrain", num_steps=1500, batch_size=16, views=(CameraRole.PRIMARY,)),
        report_every=100,
        eval_split=Split.VAL,
    )
