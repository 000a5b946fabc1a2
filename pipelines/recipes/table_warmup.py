"""Stage 1 on the tabletop, whose demonstrations `vita-eval tabletop record` writes; for the demo and its policy."""

from dataclasses import replace

from vita_data.types import Split
from vita_model.training.recipes.lifting import lifting_warmup
from vita_model.training.recipes.recipe import Recipe


def recipe() -> Recipe:
    return replace(lifting_warmup("table_warmup", num_steps=1000), report_every=100, eval_split=Split.VAL)
