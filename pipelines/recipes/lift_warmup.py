"""Stage 1 of the closed loop on scripted Lift demonstrations; takes minutes on two CPU cores."""

from vita_model.training.recipes.lifting import lifting_warmup
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return lifting_warmup("lift_warmup", num_steps=1500)
