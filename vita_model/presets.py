"""Model sizes by name, and any size without released weights.

`tiny` trains on two CPU cores in seconds and has every part of the full size.
"""

from dataclasses import replace

from vita_model.action import ActionDecoderConfig, ActionEncoderConfig
from vita_model.backbone import BackboneConfig
from vita_model.codebook import CodebookConfig
from vita_model.features import FeatureConfig
from vita_model.hub import RANDOM
from vita_model.layers import TransformerConfig
from vita_model.visual import VisualDecoderConfig, VisualEncoderConfig
from vita_model.vita import VitaConfig

_IMAGE_SIZE = 112
_OUTPUT_SIZE = 128
_BLOCKS = TransformerConfig(width=64, num_layers=2, num_heads=4, ffn_width=256)


def tiny() -> VitaConfig:
    """Width 64, two layers, random weights everywhere.

    Images enter at 112 px (8x8 patches of 14); frames come out at 128 px and are compared with the stored 256x256
    frames resized to that, where the full size compares at 256.
    """
    return VitaConfig(
        visual=FeatureConfig(backbone=RANDOM, input_size=_IMAGE_SIZE, position_size=_IMAGE_SIZE, encoder=_BLOCKS),
        visual_encoder=VisualEncoderConfig(blocks=_BLOCKS, num_memory=3),
        visual_decoder=VisualDecoderConfig(blocks=_BLOCKS, latent_ffn_width=128, output_size=_OUTPUT_SIZE),
        action_encoder=ActionEncoderConfig(width=128),
        action_decoder=ActionDecoderConfig(blocks=_BLOCKS),
        codebook=CodebookConfig(
            num_codes=32, width=64, decay=0.9, grace_updates=10, num_recent=64, last_replacement=32
        ),
        backbone=BackboneConfig(
            weights=RANDOM,
            vision=_BLOCKS,
            image_size=_IMAGE_SIZE,
            language=_BLOCKS,
            head_width=16,
            vocabulary=259,
        ),
    )


def with_random_weights(config: VitaConfig) -> VitaConfig:
    """Draw all weights: what counts, or times, a model needs none of the released ones."""
    return replace(
        config,
        visual=replace(config.visual, backbone=RANDOM),
        backbone=replace(config.backbone, weights=RANDOM),
    )
