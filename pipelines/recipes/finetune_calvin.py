"""Stage 3 for CALVIN; start from a co-trained run with `--set init=RUN`.

VITA 7.3: batch 192, 40,000 steps, third-person and gripper camera; the chunk length is not given.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.presets import finetuning
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return finetuning(
        "calvin",
        num_steps=40_000,
        batch_size=192,
        horizon=12,
        views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT),
    )
