"""Stage 3 for the Google robot in SimplerEnv; start from a co-trained run with `--set init=RUN`.

VITA 7.3: third-person camera, batch 128, 50,000 steps, chunk 5.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.presets import finetuning
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return finetuning(
        "fractal",
        num_steps=50_000,
        batch_size=128,
        horizon=5,
        views=(CameraRole.PRIMARY,),
    )
