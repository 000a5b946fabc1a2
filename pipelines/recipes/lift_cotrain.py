"""Stage 2 of the closed loop; start from a run of lift_warmup with `--set init=RUN`.

It uses both cameras, while the paper's pre-training mixes single-camera datasets: fine-tuning freezes the backbone,
which would otherwise never have been trained on the wrist camera. The states only correct what the latent alone decodes
to: in so many steps they would otherwise take its place.
"""

from vita_data.types import CameraRole
from vita_model.network.configs import ActionContext
from vita_model.training.recipes.lifting import lifting_cotrain
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return lifting_cotrain(
        "lift_cotrain",
        num_steps=10_000,
        batch_size=32,
        views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT),
        context=ActionContext.CORRECTION,
    )
