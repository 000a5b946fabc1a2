"""Checks of a recipe against its windows, its sources and its evaluation."""

from collections.abc import Sequence

from vita_data.errors import RequestError
from vita_data.types import Stage, WindowSpec
from vita_model.network.configs import SegmentLatents, VitaConfig
from vita_model.network.reasoning import VisualReasoning
from vita_model.training.recipes.recipe import Recipe


def check_windows(recipe: Recipe, windows: WindowSpec) -> None:
    """Refuse windows that do not fit the recipe's model.

    Raises:
        RequestError: the windows do not fit; the message gives both numbers.
    """
    model = recipe.model
    encoder, decoder, frames = model.action_encoder, model.action_decoder, model.visual_decoder
    sees = recipe.stage is Stage.COTRAIN and model.cot.visual is not VisualReasoning.NONE
    per_frame = model.visual_encoder.num_latents
    teaches = recipe.stage is Stage.COTRAIN and recipe.loss.chunk_tokens > 0
    fixed = recipe.stage is not Stage.WARMUP or encoder.horizon == windows.horizon
    rooms = (
        (fixed, f"chunks of {windows.horizon} steps, but model.action_encoder.horizon is {encoder.horizon}"),
        (
            windows.horizon % decoder.num_segments == 0,
            f"chunks of {windows.horizon} steps, but model.action_decoder.num_segments is {decoder.num_segments}",
        ),
        (
            windows.horizon <= decoder.max_steps * decoder.num_segments,
            f"chunks of {windows.horizon} steps, but model.action_decoder.max_steps is {decoder.max_steps}",
        ),
        (
            windows.futures <= frames.max_frames,
            f"{windows.futures} futures, but model.visual_decoder.max_frames is {frames.max_frames}",
        ),
        (
            not teaches or windows.horizon == _taught_steps(model),
            f"chunks of {windows.horizon} steps, but loss.chunk_tokens teaches {_taught_steps(model)}",
        ),
        (
            not sees or windows.futures * per_frame <= model.backbone.num_latents,
            f"{windows.futures} futures of {per_frame} latents, but model.backbone.num_latents is "
            f"{model.backbone.num_latents}",
        ),
    )
    for fits, what in rooms:
        if not fits:
            raise RequestError(f"recipe {recipe.name}: the windows have {what}; change one of them to match")
    if recipe.stage is Stage.FINETUNE and windows.chunk_s is not None:
        raise RequestError(
            f"recipe {recipe.name}: fine-tuning needs chunks of native steps (one command per step), got "
            f"windows.chunk_s={windows.chunk_s:g}; --set windows.chunk_s=none"
        )


def check_joints(recipe: Recipe, joint_sources: Sequence[str]) -> None:
    """Refuse to train on arms of which only joints are known without their joints.

    Raises:
        RequestError: the recipe's actions have no joint targets; the message names the sources.
    """
    if joint_sources and not recipe.model.joints:
        raise RequestError(
            f"recipe {recipe.name}: {', '.join(joint_sources)} has arms of which only joints are known, but the "
            "model's actions have no joint targets; --set model.joints=true, in all three stages"
        )


def _taught_steps(model: VitaConfig) -> int:
    """Count the steps of a chunk that supervises latent tokens: the encoder's horizon, per segment with own latents."""
    decoder = model.action_decoder
    num_parts = decoder.num_segments if decoder.segment_latents is SegmentLatents.OWN else 1
    return num_parts * model.action_encoder.horizon


def check_eval_every(recipe: Recipe, held_out: object | None) -> None:
    """Refuse evaluations during training without held-out data or without evaluation batches.

    The next training batches cannot be used instead: by the next evaluation the model would have trained on them.

    Raises:
        RequestError: `eval_split` or `eval_batches` must be set.
    """
    if recipe.eval_every is None:
        return
    told = f"recipe {recipe.name}: eval_every={recipe.eval_every}"
    if held_out is None:
        raise RequestError(
            f"{told} needs held-out windows: expected eval_split=val, got none; --set eval_split=val, or "
            "--set eval_every=none to evaluate only after the last step"
        )
    if not recipe.eval_batches:
        raise RequestError(f"{told} with eval_batches=0 evaluates nothing; --set eval_batches=8, or eval_every=none")
