"""Stage 2 of the closed loop; start from a run of lift_warmup with `--set init=RUN`.

It uses both cameras, while the paper's pre-training mixes single-camera datasets: fine-tuning freezes the backbone,
which would otherwise never have been trained on the wrist camera.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.lifting import lifting_cotrain
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return lifting_cotrain(
        "lift_cotrain", num_steps=5000, batch_size=32, views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    )
