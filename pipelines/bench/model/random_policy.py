"""Write a policy with random weights as a run folder, to benchmark `vita-serve`."""

from pathlib import Path

import torch

from vita_data.slots import STATE_DIM
from vita_data.types import CameraRole, Json, Stage
from vita_model.network.configs import VitaConfig
from vita_model.network.vita import Vita
from vita_model.policy.policy import CONTROL
from vita_model.training.checkpoint.components import TrainerState, save
from vita_model.training.checkpoint.state import Progress
from vita_model.training.recipes.presets import with_random_weights
from vita_model.training.recipes.recipe import Recipe, as_json

_SOURCE = "drawn"
_ACTION_DIM = 40


def write_random_policy(run: Path, config: VitaConfig, *, views: tuple[CameraRole, ...]) -> None:
    """Write a run with one source, random weights, and statistics that do not change any values."""
    model = Vita(with_random_weights(config), CONTROL)
    recipe = Recipe(name=_SOURCE, stage=Stage.FINETUNE, manifest="none", num_steps=1, batch_size=1, model=model.config)
    horizon = config.backbone.num_latents // config.visual_encoder.num_latents
    windows = {"views": [str(view) for view in views], "horizon": horizon}
    progress = Progress(
        step=0, stage=str(Stage.FINETUNE), recipe=as_json(recipe), sampler={"fields": {"windows": windows}},
        statistics={_SOURCE: _statistics()}, drawn={}, features=model.features.identity,
    )  # fmt: skip
    state = TrainerState(torch_rng=torch.get_rng_state(), draw_rng=torch.get_rng_state())
    save(run, model, state, progress, keep_last=None)


def _statistics() -> Json:
    columns = {"action": _ACTION_DIM, "state": STATE_DIM}
    return {"source": {_SOURCE: {name: _columns(size) for name, size in columns.items()}}}


def _columns(size: int) -> Json:
    return {"mean": [0.0] * size, "q01": [-1.0] * size, "q99": [1.0] * size, "mask": [True] * size}
