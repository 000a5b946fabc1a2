"""The losses of the paper: L1 + SSIM for frames, squared error for actions; all means use `masked_mean`.

The commitment to the codes is computed by the quantizer (`codebook.py`) and added in `training/stages.py`.

Everything runs in float32 outside autocast, because SSIM in bfloat16 is off by 2%.
"""

import torch
from torch import Tensor

from vita_model.distributed import all_sum

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_LEAST_CHANGE, _TINY = 1e-3, 1e-8


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values over all ranks where the broadcast mask is True; 0 if it is False everywhere.

    NaNs in masked entries affect neither the mean nor the gradient. Every rank gets the mean of the global batch (see
    `vita_model.distributed`).
    """
    mask = mask.expand(values.shape)
    total = all_sum(torch.where(mask, values, 0.0).sum())
    return total / all_sum(mask.sum()).clamp(min=1)


def action_error(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over unmasked entries of [B, H, A] (VITA eq 9).

    Assumes: the paper's squared norm is averaged, not summed, so that values for different horizons are comparable.
    """
    true = torch.where(mask, true, 0.0).float()
    return masked_mean((predicted.float() - true).square(), mask)


def absolute_error(predicted: Tensor, true: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 distance of each image [N, 3, h, w] as [N]; `weight` [N, 1, h, w] weights its pixels."""
    distance = (predicted.float() - true.float()).abs()
    return (distance if weight is None else weight * distance).mean(dim=(1, 2, 3))


def motion_weight(start: Tensor, true: Tensor, strength: float) -> Tensor:
    """Pixel weights [N, 1, h, w] by how much images [N, 3, h, w] differ from `start`, with mean 1 per image."""
    change = (true - start).abs().mean(dim=1, keepdim=True)
    relative = change / change.mean(dim=(1, 2, 3), keepdim=True).clamp(min=_LEAST_CHANGE)
    weight = 1 + strength * relative
    return weight / weight.mean(dim=(1, 2, 3), keepdim=True)


def feature_error(predicted: Tensor, true: Tensor, present: Tensor, mask: Tensor) -> Tensor:
    """Squared error of predicted features [N, P, F] where mask [N] is True, relative to the true change.

    Predicting no change has an error of 1.
    """
    real = mask[:, None, None]
    change = masked_mean((true - present).float().square(), real)
    return masked_mean((predicted.float() - true.float()).square(), real) / change.detach().clamp(min=_TINY)


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each image [N, 3, h, w] in [0, 1] as [N].

    Gaussian 11x11 window of sigma 1.5, K1 = 0.01, K2 = 0.03, valid padding, mean over map and channels (Wang et al.,
    2004, "Image quality assessment: from error visibility to structural similarity").
    """
    with torch.autocast(predicted.device.type, enabled=False):
        x, y = predicted.float(), true.float()
        mean_x, xx, xy = _blur(torch.stack([x, x * x, x * y]))
        mean_y, yy = _blur(torch.stack([y, y * y]))
        var_x, var_y, cov = xx - mean_x.square(), yy - mean_y.square(), xy - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x.square() + mean_y.square() + _SSIM_C1)
        structure = (2 * cov + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
        similarity: Tensor = (luminance * structure).mean(dim=(1, 2, 3))
    return similarity


def _blur(images: Tensor) -> Tensor:
    """Convolve [.., h, w] with the separable Gaussian window, valid padding.

    Two products with banded matrices: on a CPU this is several times faster than a single-channel convolution and its
    gradient.
    """
    rows, columns = (_band(size, images.device) for size in images.shape[-2:])
    blurred: Tensor = rows @ images @ columns.T
    return blurred


def _band(size: int, device: torch.device) -> Tensor:
    """Build the matrix [size - 10, size] whose rows hold the window, shifted by one entry per row."""
    shift = torch.arange(size - _SSIM_WINDOW + 1, device=device)[:, None]
    offset = torch.arange(size, device=device)[None, :] - shift - _SSIM_WINDOW // 2
    window = torch.exp(-offset.float().square() / (2 * _SSIM_SIGMA**2)) * (offset.abs() <= _SSIM_WINDOW // 2)
    return window / window.sum(dim=1, keepdim=True)
