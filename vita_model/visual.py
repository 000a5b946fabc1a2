"""The visual auto-encoder: frozen DINOv2 features, the M-Former (E_v) and the visual decoder (D_v).

Letters: B batch, N images (frames folded in), P patches, Q latents of one frame pair, K latents, D latent width.
Images are float [.., 3, h, w] in [0, 1]. DINOv2's weights are random so far; the released ones are not loaded yet.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from vita_model.checks import MAX_SEED, require_whole
from vita_model.layers import TransformerConfig, blocks, learned, mlp, unit_images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_VIT_BASE = TransformerConfig(width=768, num_layers=12, num_heads=12, ffn_width=3072)
_M_FORMER = TransformerConfig(width=512, num_layers=6, num_heads=8, ffn_width=1984)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """DINOv2-Base at 224 px: a grid of 16x16 patches (VITA 3.1.1).

    Assumes: stored 256x256 images are resized to 224, since 256 is no multiple of the patch of 14.
    """

    input_size: int = 224
    patch_size: int = 14
    position_size: int = 518
    """Image size that the position table belongs to; the released weights use 518."""
    encoder: TransformerConfig = _VIT_BASE
    random_seed: int = 0
    """Draws the weights, so that every stage sees the same frozen features without storing them."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and seeds that torch has not; raises RequestError."""
        require_whole(self, "input_size", "patch_size", "position_size")
        require_whole(self, "random_seed", least=0, most=MAX_SEED)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.input_size // self.patch_size


class FrozenFeatures(nn.Module):
    """DINOv2 without gradient, always in eval mode."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        if min(config.input_size, config.position_size) < config.patch_size:
            raise ValueError(f"input_size and position_size must hold a patch of {config.patch_size} px")
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.random_seed)
            self.dino = Dinov2Model(_dino_config(config))
        self.requires_grad_(requires_grad=False).train(mode=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "FrozenFeatures":  # noqa: FBT001, FBT002 - torch's signature
        """Stay in eval mode whatever the parent does."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode uint8 [N, 256, 256, 3] as patch features [N, P, width], CLS dropped."""
        pixels = (unit_images(images, self.config.input_size) - self.mean) / self.std
        features: Tensor = self.dino(pixels).last_hidden_state
        return features[:, 1:]


def _dino_config(config: FeatureConfig) -> Dinov2Config:
    """Translate our shape into the library's configuration."""
    return Dinov2Config(
        hidden_size=config.encoder.width,
        num_hidden_layers=config.encoder.num_layers,
        num_attention_heads=config.encoder.num_heads,
        mlp_ratio=config.encoder.ffn_width // config.encoder.width,
        image_size=config.position_size,
        patch_size=config.patch_size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualEncoderConfig:
    """The M-Former of 20M parameters (VITA 3.1.1, table 11).

    Assumes: "memory-augmented" means learned register tokens; features join on channels (eq 2); one latent a pair.
    """

    blocks: TransformerConfig = _M_FORMER
    num_latents: int = 1
    """Latents of one frame pair."""
    num_memory: int = 7

    def __post_init__(self) -> None:
        """Refuse sizes that no encoder has; raises RequestError."""
        require_whole(self, "num_latents")
        require_whole(self, "num_memory", least=0)


class VisualEncoder(nn.Module):
    """E_v: features of two frames -> latents of the motion between them (VITA eq 2)."""

    def __init__(self, config: VisualEncoderConfig, *, feature_width: int, num_patches: int, latent_width: int) -> None:
        super().__init__()
        self.num_latents = config.num_latents
        width = config.blocks.width
        self.join = nn.Linear(2 * feature_width, width)
        self.position = learned(num_patches, width)
        self.queries = learned(config.num_latents + config.num_memory, width)
        self.blocks = blocks(config.blocks)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, latent_width)

    def forward(self, current: Tensor, following: Tensor) -> Tensor:
        """Encode features [B, P, F] of two frames as latents [B, Q, D]."""
        patches = self.join(torch.cat([current, following], dim=-1)) + self.position
        rows = torch.cat([self.queries.expand(len(current), -1, -1), patches], dim=1)
        for block in self.blocks:
            rows = block(rows)
        latents: Tensor = self.out(self.norm(rows[:, : self.num_latents]))
        return latents


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualDecoderConfig:
    """The 12-layer ViT decoder of 96M parameters (VITA 4.1.2, table 11)."""

    blocks: TransformerConfig = _VIT_BASE
    latent_ffn_width: int = 2048
    output_size: int = 256
    """Pixels along a side; a smaller preset compares with the target resized to this."""
    max_latents: int = 64
    max_frames: int = 64

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "latent_ffn_width", "output_size", "max_latents", "max_frames")


class VisualDecoder(nn.Module):
    """D_v: features of the first frame and latents -> a future frame (VITA eq 4, 16).

    Frame k sees latents 1..k; all frames go through together, folded into N. Warmup is the same call with k = 1.
    """

    def __init__(self, config: VisualDecoderConfig, *, features: FeatureConfig, latent_width: int) -> None:
        super().__init__()
        width, self.grid = config.blocks.width, features.grid
        if not self.grid or config.output_size % self.grid:
            raise ValueError(f"output_size {config.output_size} must be a multiple of the grid of {self.grid} patches")
        patch = config.output_size // self.grid
        self.latent_in = mlp(latent_width, config.latent_ffn_width, width)
        self.latent_position = learned(config.max_latents, width)
        self.feature_in = nn.Linear(features.encoder.width, width)
        self.patch_position = learned(self.grid**2, width)
        self.frame = nn.Embedding(config.max_frames + 1, width)
        self.blocks = blocks(config.blocks)
        self.norm = nn.LayerNorm(width)
        # Neighbouring patches meet here: seams would cost SSIM.
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GELU())
        self.pixels = nn.Linear(width, 3 * patch * patch)
        self.shuffle = nn.PixelShuffle(patch)

    def forward(self, features: Tensor, latents: Tensor, latent_mask: Tensor, frame_index: Tensor) -> Tensor:
        """Decode frames.

        Args:
            features: [N, P, F] of the start frame.
            latents: [N, K, D].
            latent_mask: bool [N, K], the latents that this frame may see.
            frame_index: int64 [N], 1 for the first future.

        Returns:
            Images [N, 3, output_size, output_size], not clamped: a clamp would cut the gradient.
        """
        num_latents = latents.shape[1]
        coded = self.latent_in(latents) + self.latent_position[:num_latents]
        patches = self.feature_in(features) + self.patch_position + self.frame(frame_index)[:, None]
        rows = torch.cat([coded, patches], dim=1)
        mask = torch.cat([latent_mask, latent_mask.new_ones(patches.shape[:2])], dim=1)
        for block in self.blocks:
            rows = block(rows, mask)
        rows = self.norm(rows[:, num_latents:])
        maps = self.smooth(rows.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        images: Tensor = self.shuffle(self.pixels(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return images
