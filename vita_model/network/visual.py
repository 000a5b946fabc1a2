"""The visual auto-encoder: the M-Former (E_v) and the visual decoder (D_v), both on frozen features of a frame.

Letters: B batch, N images (frames folded in), P patches, Q latents of one frame pair, K latents, D latent width.
Images are float [.., 3, h, w] in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vita_model.network.configs import FeatureConfig, VisualDecoderConfig, VisualEncoderConfig
from vita_model.network.layers import blocks, learned, linear_in_float32, mlp, patch_positions


class VisualEncoder(nn.Module):
    """E_v: encode the motion between two frames, given by their features, as latents (VITA eq 2)."""

    def __init__(self, config: VisualEncoderConfig, *, feature_width: int, grid: int, latent_width: int) -> None:
        super().__init__()
        self.num_latents = config.num_latents
        width = config.blocks.width
        self.join = nn.Linear(2 * feature_width, width)
        self.position = patch_positions(grid, width, config.positions)
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


@dataclass(frozen=True, slots=True)
class DecodedFrames:
    """Images [N, 3, s, s], not clamped, since clamping would stop gradients; features [N, P, F] if predicted."""

    images: Tensor
    features: Tensor | None


class VisualDecoder(nn.Module):
    """D_v: decode the first frame and latents to a future frame (VITA eq 4, 16).

    Frame k sees latents 1..k. All frames are decoded together, folded into N. Warmup makes the same call with k = 1.
    """

    def __init__(self, config: VisualDecoderConfig, *, features: FeatureConfig, latent_width: int) -> None:
        super().__init__()
        width, self.grid = config.blocks.width, features.grid
        if not self.grid or config.output_size % self.grid:
            raise ValueError(f"output_size {config.output_size} must be a multiple of the {self.grid} patches per side")
        patch = config.output_size // self.grid
        self.residual = config.residual
        self.needs_present = config.residual or config.sees_pixels
        self.latent_in = mlp(latent_width, config.latent_ffn_width, width)
        self.latent_position = learned(config.max_latents, width)
        self.feature_in = nn.Linear(features.encoder.width, width)
        self.patch_position = patch_positions(self.grid, width, config.positions)
        self.pixels_in = nn.Conv2d(3, width, patch, patch) if config.sees_pixels else None
        self.frame = nn.Embedding(config.max_frames + 1, width)
        self.blocks = blocks(config.blocks)
        self.norm = nn.LayerNorm(width)
        # Mix neighbouring patches, because seams between them would lower SSIM.
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GELU())
        self.pixels = nn.Linear(width, 3 * patch * patch)
        self.shuffle = nn.PixelShuffle(patch)
        self.features_out = nn.Linear(width, features.encoder.width) if config.predicts_features else None
        if config.residual:
            _start_near_zero(self.pixels)

    def freeze_feature_head(self) -> None:
        """Freeze the feature head after warmup, because no other stage has a loss for it."""
        if self.features_out is not None:
            self.features_out.requires_grad_(requires_grad=False)

    def forward(
        self,
        features: Tensor,
        latents: Tensor,
        latent_mask: Tensor,
        frame_index: Tensor,
        present: Tensor | None = None,
    ) -> DecodedFrames:
        """Decode frames.

        Args:
            features: features [N, P, F] of the start frame.
            latents: [N, K, D].
            latent_mask: bool [N, K], the latents that this frame may see.
            frame_index: int64 [N], 1 for the first future.
            present: [N, 3, output_size, output_size] the start frame in [0, 1], if `needs_present`.

        Raises:
            ValueError: the decoder needs the present frame, but got none.
        """
        if self.needs_present and present is None:
            raise ValueError("this decoder needs the present frame (residual or sees_pixels is true), got none")
        num_latents = latents.shape[1]
        coded = self.latent_in(latents) + self.latent_position[:num_latents]
        patches = self.feature_in(features) + self.patch_position + self.frame(frame_index)[:, None]
        if self.pixels_in is not None and present is not None:
            patches = patches + self.pixels_in(present - 0.5).flatten(2).transpose(1, 2)
        rows = torch.cat([coded, patches], dim=1)
        mask = torch.cat([latent_mask, latent_mask.new_ones(patches.shape[:2])], dim=1)
        for block in self.blocks:
            rows = block(rows, mask)
        rows = self.norm(rows[:, num_latents:])
        maps = self.smooth(rows.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        pixels = linear_in_float32(self.pixels, maps.permute(0, 2, 3, 1))
        images: Tensor = self.shuffle(pixels.permute(0, 3, 1, 2))
        change = None if self.features_out is None else linear_in_float32(self.features_out, rows)
        return DecodedFrames(
            images=images + present if self.residual and present is not None else images,
            features=None if change is None else features + change,
        )


@torch.no_grad()
def _start_near_zero(layer: nn.Linear) -> None:
    """Initialize a residual output close to no change."""
    layer.weight.mul_(0.1)
    layer.bias.zero_()
