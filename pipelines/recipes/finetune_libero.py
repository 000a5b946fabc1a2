"""Stage 3 for LIBERO; start from a co-trained run with `--set init=RUN`.

VITA 7.3: batch 192, 60,000 steps, third-person and gripper camera; the chunk length is not given.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.presets import finetuning
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return finetuning(
        "libero",
        num_steps=60_000,
        batch_size=192,
        horizon=12,
        views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT),
    )
