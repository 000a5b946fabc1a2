"""Stage 3 of the closed loop; start from a run of lift_cotrain with `--set init=RUN`."""

from vita_data.types import CameraRole
from vita_model.network.configs import ActionContext
from vita_model.training.recipes.lifting import lifting_finetune
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return lifting_finetune(
        "lift_finetune",
        num_steps=2500,
        batch_size=64,
        views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT),
        context=ActionContext.CORRECTION,
    )
