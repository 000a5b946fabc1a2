"""The three stages of lifting a cube, in robosuite (`lift_*`) or on the tabletop (`table_*`), on two CPU cores.

The tasks differ in their cameras and in how long they train. One latent stands for the next frame and for the whole
chunk, which show the same 0.6 s: 12 steps at 20 Hz.
"""

from collections.abc import Mapping
from dataclasses import replace

from vita_data.types import CameraRole, Stage, Starts, WindowSpec
from vita_model.network.configs import ActionContext, LossConfig, VitaConfig
from vita_model.training.recipes.presets import tiny_codes
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe, Schedule

_MANIFEST = "manifests/lift.toml"
_HORIZON = 12
_INTERVAL_S = 0.6
_SAVE_EVERY = 250
_ACTION_WEIGHT = 10.0
"""Actions weigh more than in the paper's sum, as their error is a tenth of the others and there are few steps."""


def lifting_warmup(name: str, *, num_steps: int) -> Recipe:
    """Make stage 1 on a name's demonstrations."""
    windows = replace(_windows(num_futures=1), min_futures=1, chunk_s=_INTERVAL_S)
    batch_size = {"video": 16, "action": 64, "paired": 16}
    recipe = _recipe(name, Stage.WARMUP, num_steps, batch_size, windows, ActionContext.STATES)
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=2e-3, ramp_steps=20))


def lifting_cotrain(
    name: str,
    *,
    num_steps: int,
    batch_size: int,
    views: tuple[CameraRole, ...],
    context: ActionContext = ActionContext.STATES,
) -> Recipe:
    """Make stage 2; start it from a warmup with `--set init=RUN`."""
    recipe = _recipe(name, Stage.COTRAIN, num_steps, batch_size, replace(_windows(num_futures=1), views=views), context)
    return replace(recipe, num_supervised_frames=1, loss=LossConfig(action=_ACTION_WEIGHT))


def lifting_finetune(
    name: str,
    *,
    num_steps: int,
    batch_size: int,
    views: tuple[CameraRole, ...],
    context: ActionContext = ActionContext.STATES,
) -> Recipe:
    """Make stage 3; start it from a co-training of the same context with `--set init=RUN`."""
    windows = replace(_windows(num_futures=0), views=views)
    return _recipe(name, Stage.FINETUNE, num_steps, batch_size, windows, context)


def _recipe(
    name: str,
    stage: Stage,
    num_steps: int,
    batch_size: int | Mapping[str, int],
    windows: WindowSpec,
    context: ActionContext,
) -> Recipe:
    return Recipe(
        name=name,
        stage=stage,
        manifest=_MANIFEST,
        num_steps=num_steps,
        batch_size=batch_size,
        windows=windows,
        model=_one_latent(context),
        optimizer=OptimizerConfig(lr=1e-3, ramp_steps=50, schedule=Schedule.COSINE, schedule_steps=num_steps),
        precision=Precision.FP32,
        save_every=_SAVE_EVERY,
        keep_last=1,
        report_every=_SAVE_EVERY,
    )


def _windows(num_futures: int) -> WindowSpec:
    return WindowSpec(starts=Starts.ROWS, horizon=_HORIZON, futures=num_futures, frame_interval_s=_INTERVAL_S)


def _one_latent(context: ActionContext) -> VitaConfig:
    """Make `tiny_codes` with one latent, whose action decoder reads the backbone's states as `context` says.

    A small codebook cannot encode the position of a cube to the millimetre.
    """
    model = tiny_codes()
    return replace(
        model,
        backbone=replace(model.backbone, num_latents=1, max_text_tokens=24),
        action_decoder=replace(model.action_decoder, context=context),
    )
