"""Changes the images of a training batch at random: a crop for each camera, and colours for each sample.

Letters: B batch, V views, F futures.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vita_data.types import Batch
from vita_model.distributed import Ranks
from vita_model.training.recipes.augmentation import AugmentationConfig

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
_WHITE = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """The drawn changes of the samples of a batch."""

    crop: Tensor
    """[B, V, 2, 3] affine maps from the output to the input, in coordinates of -1..1."""
    colour: Tensor
    """[B, 3] factors of brightness, contrast and saturation."""


def augmented(batch: Batch, config: AugmentationConfig, *, generator: torch.Generator, ranks: Ranks) -> Batch:
    """Change the images of a batch at random, all frames of a sample alike; batches without images stay as they are.

    The generator is a CPU generator. Each rank draws for the whole global batch and takes its part, so that changes are
    the same as with one process.
    """
    if not config.is_on or batch.images is None:
        return batch
    changes = _drawn(batch.images, config, generator, ranks)
    grey = [
        _grey(batch.images[:, view].float()).mean(dim=(1, 2), keepdim=True) for view in range(changes.crop.shape[1])
    ]
    images = [_changed(batch.images[:, v], changes, view=v, mean_grey=grey[v]) for v in range(len(grey))]
    future = None
    if batch.future is not None and batch.future.shape[1]:
        # Futures are frames of the first view.
        frames = batch.future.unbind(dim=1)
        future = torch.stack([_changed(frame, changes, view=0, mean_grey=grey[0]) for frame in frames], dim=1)
    return replace(batch, images=torch.stack(images, dim=1), future=batch.future if future is None else future)


def _drawn(images: Tensor, config: AugmentationConfig, generator: torch.Generator, ranks: Ranks) -> _Changes:
    size, num_views = images.shape[:2]
    mine = slice(ranks.rank * size, (ranks.rank + 1) * size)
    cut = torch.rand(size * ranks.world_size, num_views, 3, generator=generator)[mine]
    colour = 2 * torch.rand(size * ranks.world_size, 3, generator=generator)[mine] - 1
    side = 1 - config.crop * cut[..., 0]
    crop = torch.zeros(size, num_views, 2, 3)
    crop[..., 0, 0] = crop[..., 1, 1] = side
    crop[..., 2] = (1 - side)[..., None] * (2 * cut[..., 1:] - 1)
    factors = 1 + colour * torch.tensor([config.brightness, config.contrast, config.saturation])
    return _Changes(crop=crop.to(images.device), colour=factors.to(images.device))


def _changed(frames: Tensor, changes: _Changes, *, view: int, mean_grey: Tensor) -> Tensor:
    """Change one frame of each sample, uint8 [B, H, W, 3], as its camera's other frames; `mean_grey` is [B, 1, 1]."""
    pixels = frames.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(changes.crop[:, view], list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in changes.colour.unbind(dim=1))
    grey = _grey(pixels.permute(0, 2, 3, 1))[:, None]
    pixels = grey + saturation * (pixels - grey)
    mean = mean_grey[:, None]
    pixels = brightness * (mean + contrast * (pixels - mean))
    return pixels.round().clamp(0, _WHITE).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _grey(pixels: Tensor) -> Tensor:
    """Mix the channels of float [B, H, W, 3] into grey [B, H, W]."""
    return pixels @ pixels.new_tensor(_GREY)
