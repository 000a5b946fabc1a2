"""Stage 3 for a UR-5e; start from a co-trained run with `--set init=RUN`.

VITA 10.4: chunk 15, learning rate 5e-5, batch 128, 40,000 steps.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.presets import finetuning
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return finetuning(
        "ur5e",
        num_steps=40_000,
        batch_size=128,
        horizon=15,
        views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT),
        lr=5e-5,
    )
