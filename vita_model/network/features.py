"""Frozen DINOv2 features of a frame, the input of the visual encoder and decoder.

Letters: N images (frames folded in), P patches.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from vita_data.errors import RequestError
from vita_model.network.configs import RANDOM, FeatureConfig
from vita_model.network.layers import unit_images
from vita_model.network.weights.dinov2 import load_dinov2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenFeatures(nn.Module):
    """DINOv2 without gradient, always in eval mode.

    Random weights are initialized at once. Other weights are on the meta device until `load_pretrained`, so that a
    model whose weights were never loaded cannot run. The position table, released for 518 px, is interpolated to our
    grid once after loading and kept as the buffer `positions`; the library would do this in every forward pass.
    """

    mean: Tensor
    std: Tensor
    positions: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        _check_shape(config)
        encoder = config.encoder
        self.config = config
        self.identity = (
            f"random:{config.random_seed}:{encoder.num_layers}x{encoder.width}/{encoder.num_heads}/{encoder.ffn_width}"
        )
        """Identifies the weights; a checkpoint stores it instead of the weights."""
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self._take(_drawn(config))

    def load_pretrained(self) -> None:
        """Load the weights that the config names, unless they are random.

        Raises:
            RequestError: the weights cannot be found or read, or have the wrong shape.
        """
        if self.config.backbone != RANDOM:
            pretrained = load_dinov2(self.config.backbone, _dino_config(self.config))
            self._take(pretrained.dino)
            self.identity = f"sha256:{pretrained.sha256}"

    def check_same(self, saved: str, where: str) -> None:
        """Refuse a run that was trained on other features; `saved` is the identity that it stored.

        Raises:
            RequestError: the identities differ.
        """
        if saved != self.identity:
            raise RequestError(
                f"{where}: the run was trained on DINOv2 weights {saved[:32]}, but visual.backbone="
                f"{self.config.backbone} gives {self.identity[:32]}; --set visual.backbone to the weights of that run"
            )

    def train(self, mode: bool = True) -> "FrozenFeatures":  # noqa: FBT001, FBT002 - torch's signature
        """Stay in eval mode, regardless of the parent module."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode uint8 [N, 256, 256, 3] as patch features [N, P, width] after the last LayerNorm, without CLS."""
        pixels = (unit_images(images, self.config.input_size) - self.mean) / self.std
        embeddings = self.dino.embeddings
        patches = embeddings.patch_embeddings(pixels)
        rows = torch.cat([embeddings.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.positions
        features: Tensor = self.dino.layernorm(self.dino.encoder(rows).last_hidden_state[:, 1:])
        return features

    def _take(self, dino: Dinov2Model) -> None:
        self.dino = dino
        self.requires_grad_(requires_grad=False).train(mode=False)
        table = _resized(dino.embeddings.position_embeddings.detach(), self.config.grid)
        self.register_buffer("positions", table, persistent=False)


def _check_shape(config: FeatureConfig) -> None:
    width, heads, ffn_width = config.encoder.width, config.encoder.num_heads, config.encoder.ffn_width
    if min(config.input_size, config.position_size) < config.patch_size:
        raise ValueError(f"input_size and position_size must be at least patch_size ({config.patch_size} px)")
    if width % heads or ffn_width % width:
        raise ValueError(
            f"width {width} must be a multiple of num_heads ({heads}), and ffn_width {ffn_width} a multiple of width"
        )


def _drawn(config: FeatureConfig) -> Dinov2Model:
    """Build the model with random weights, or only with shapes if released weights are loaded later."""
    place = nullcontext() if config.backbone == RANDOM else torch.device("meta")
    with torch.random.fork_rng(devices=[]), place:
        torch.manual_seed(config.random_seed)
        return Dinov2Model(_dino_config(config))


def _resized(table: Tensor, grid: int) -> Tensor:
    """Interpolate positions [1, 1 + P, width] to a grid, as the library's forward does; the first row is CLS."""
    side = round((table.shape[1] - 1) ** 0.5)
    if side == grid:
        return table.clone()
    patches = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def _dino_config(config: FeatureConfig) -> Dinov2Config:
    """Convert our config to the library's."""
    return Dinov2Config(
        hidden_size=config.encoder.width,
        num_hidden_layers=config.encoder.num_layers,
        num_attention_heads=config.encoder.num_heads,
        mlp_ratio=config.encoder.ffn_width // config.encoder.width,
        image_size=config.position_size,
        patch_size=config.patch_size,
    )
