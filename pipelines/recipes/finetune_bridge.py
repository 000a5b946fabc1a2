"""Stage 3 for WidowX in SimplerEnv; start from a co-trained run with `--set init=RUN`.

VITA 7.3: BridgeData V2, third-person camera, batch 128, 80,000 steps, chunk 5.
"""

from vita_data.types import CameraRole
from vita_model.training.recipes.presets import finetuning
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return finetuning(
        "bridge",
        num_steps=80_000,
        batch_size=128,
        horizon=5,
        views=(CameraRole.PRIMARY,),
    )
