"""Shared parts of recipes: the model sizes `tiny` and `quarter`, the `paper` preset, and fine-tuning at full size."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from vita_data.types import CameraRole, Modality, Stage, Starts, WindowSpec
from vita_model.network.configs import (
    RANDOM,
    ActionContext,
    ActionDecoderConfig,
    ActionEncoderConfig,
    BackboneConfig,
    CodebookConfig,
    CodeUpdate,
    FeatureConfig,
    LatentGradient,
    ModalityNorm,
    PositionStart,
    TransformerConfig,
    VisualDecoderConfig,
    VisualEncoderConfig,
    VitaConfig,
)
from vita_model.training.recipes.recipe import OptimizerConfig, Parallel, Recipe

_IMAGE_SIZE = 112
_OUTPUT_SIZE = 128
_MOVED_VIEWS = 0.19
_BLOCKS = TransformerConfig(width=64, num_layers=2, num_heads=4, ffn_width=256)


def tiny() -> VitaConfig:
    """Make a model of width 64 with two layers and random weights, which trains on two CPU cores.

    Input images are 112 px (8x8 patches of 14). Predicted frames are 128 px and are compared with the stored 256x256
    frames resized to 128; the full-size model compares at 256.
    """
    return VitaConfig(
        visual=FeatureConfig(backbone=RANDOM, input_size=_IMAGE_SIZE, position_size=_IMAGE_SIZE, encoder=_BLOCKS),
        visual_encoder=VisualEncoderConfig(blocks=_BLOCKS, num_memory=3),
        visual_decoder=VisualDecoderConfig(blocks=_BLOCKS, latent_ffn_width=128, output_size=_OUTPUT_SIZE),
        action_encoder=ActionEncoderConfig(width=128),
        action_decoder=ActionDecoderConfig(blocks=_BLOCKS),
        codebook=CodebookConfig(num_codes=32, width=64, decay=0.9, grace_updates=10, num_recent=64),
        backbone=BackboneConfig(
            weights=RANDOM,
            vision=_BLOCKS,
            image_size=_IMAGE_SIZE,
            language=_BLOCKS,
            head_width=16,
            vocabulary=259,
        ),
    )


def tiny_codes() -> VitaConfig:
    """Make `tiny` with a codebook of 128 codes, for a warmup of about 1,500 steps.

    Frames are predicted as a change of the present frame, because a few minutes of training are not enough to paint a
    whole scene from features.
    """
    model = tiny()
    return replace(
        model,
        visual_decoder=replace(model.visual_decoder, sees_pixels=True, residual=True),
        codebook=replace(model.codebook, num_codes=128, decay=0.95, grace_updates=20, num_recent=512),
    )


def as_printed(recipe: Recipe) -> Recipe:
    """Change a recipe to follow the paper exactly wherever the defaults differ from it (`--set preset=paper`).

    Codes learn by gradient from the first step and are never replaced. Encodings are not normalized, and code usage is
    not matched between modalities. Warmup reconstructs frames and native chunks without paired windows (eq 1 to 9).
    Positions start as small noise. Latent tokens are predicted without supervision (eq 15), and the action decoder
    reads only them (eq 16).
    """
    model, start, steps = recipe.model, PositionStart.NORMAL, recipe.modality_steps
    if steps is not None and recipe.stage is Stage.WARMUP:
        steps = {modality: share for modality, share in steps.items() if modality != Modality.PAIRED}
    codebook = replace(
        model.codebook,
        continuous_updates=0,
        last_replacement=0,
        update=CodeUpdate.GRAD,
        modality_norm=ModalityNorm.NONE,
    )
    windows = None if recipe.windows is None else replace(recipe.windows, chunk_s=None)
    return replace(
        recipe,
        modality_steps=steps,
        windows=windows,
        loss=replace(recipe.loss, usage_match=0.0, features=0.0, cross=0.0, motion=0.0, tokens=0.0),
        model=replace(
            model,
            visual_encoder=replace(model.visual_encoder, positions=start, moved_views=0.0),
            visual_decoder=replace(
                model.visual_decoder, positions=start, predicts_features=False, sees_pixels=False, residual=False
            ),
            action_decoder=replace(model.action_decoder, context=ActionContext.NONE),
            codebook=codebook,
            latents=replace(model.latents, gradient=LatentGradient.SOFTMAX),
        ),
    )


RECIPE_PRESETS: Mapping[str, Callable[[Recipe], Recipe]] = {"paper": as_printed}
"""Presets for `--set preset=NAME`."""


def without_pairs(model: VitaConfig) -> VitaConfig:
    """Change a model for a mixture without paired windows, where only the frames make the codes learn motion.

    The encoder sees shifted frames, and the decoder predicts a change of the present frame.
    """
    return replace(
        model,
        visual_encoder=replace(model.visual_encoder, moved_views=_MOVED_VIEWS),
        visual_decoder=replace(model.visual_decoder, sees_pixels=True, residual=True),
    )


def quarter() -> VitaConfig:
    """Make a model with a quarter of the full width, but full depth and image size, for benchmarks on a CPU."""
    full = VitaConfig()
    return VitaConfig(
        visual=replace(full.visual, backbone=RANDOM, encoder=_quarter_of(full.visual.encoder)),
        visual_encoder=replace(full.visual_encoder, blocks=_quarter_of(full.visual_encoder.blocks)),
        visual_decoder=replace(
            full.visual_decoder,
            blocks=_quarter_of(full.visual_decoder.blocks),
            latent_ffn_width=full.visual_decoder.latent_ffn_width // 4,
        ),
        action_encoder=replace(full.action_encoder, width=full.action_encoder.width // 4),
        action_decoder=replace(full.action_decoder, blocks=_quarter_of(full.action_decoder.blocks)),
        codebook=replace(full.codebook, width=full.codebook.width // 4),
        backbone=replace(
            full.backbone,
            weights=RANDOM,
            vision=_quarter_of(full.backbone.vision),
            language=_quarter_of(full.backbone.language),
        ),
    )


PRESETS: Mapping[str, Callable[[], VitaConfig]] = {"tiny": tiny, "quarter": quarter, "full": VitaConfig}
"""Model sizes for `--preset` of the benchmarks."""


def _quarter_of(shape: TransformerConfig) -> TransformerConfig:
    heads = max(shape.num_heads // 4, 1)
    return replace(shape, width=shape.width // 4, num_heads=heads, ffn_width=shape.ffn_width // 4)


def finetuning(
    source: str, *, num_steps: int, batch_size: int, horizon: int, views: tuple[CameraRole, ...], lr: float = 1e-4
) -> Recipe:
    """Make the fine-tuning recipe of a benchmark, on `manifests/finetune_SOURCE.toml`; windows start at every row.

    Fits 16 A100 with 80 GB and 8 H200: only the action decoder has gradients, and a copy of all weights takes 13 GiB.

    Assumes: a learning rate of 1e-4 and a chunk of 12 where the paper gives none.
    """
    return Recipe(
        name=f"finetune_{source}",
        stage=Stage.FINETUNE,
        manifest=f"manifests/finetune_{source}.toml",
        num_steps=num_steps,
        batch_size=batch_size,
        windows=WindowSpec(starts=Starts.ROWS, horizon=horizon, futures=0, views=views),
        optimizer=OptimizerConfig(lr=lr),
        parallel=Parallel.DDP,
        recompute=False,
        accumulate=1,
        keep_every=10_000,
    )


def with_random_weights(config: VitaConfig) -> VitaConfig:
    """Use random weights everywhere: counting or timing a model does not need the released ones."""
    return replace(
        config,
        visual=replace(config.visual, backbone=RANDOM),
        backbone=replace(config.backbone, weights=RANDOM),
    )
