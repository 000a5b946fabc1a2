import numpy as np
import torch
from scipy.signal import convolve2d

from vita_model.network.losses import action_error, masked_mean, ssim


def reference_ssim(x, y):
    """SSIM of one channel in float64 with a 2-D window, straight from its definition."""
    offset = np.arange(11) - 5
    line = np.exp(-(offset**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    mean_x, mean_y, xx, yy, xy = (convolve2d(v, window, mode="valid") for v in (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = 1e-4, 9e-4
    return np.mean(
        ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )


def test_ssim_equals_its_definition_per_image():
    random = np.random.default_rng(0)
    x, y = random.random((2, 2, 3, 24, 31))
    y[0] = 0.7 * x[0] + 0.3 * y[0]
    expected = [np.mean([reference_ssim(x[i, c], y[i, c]) for c in range(3)]) for i in range(2)]

    actual = ssim(torch.from_numpy(x), torch.from_numpy(y))

    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_ssim_of_an_image_with_itself_is_one_also_under_autocast():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        same = ssim(image, image)
    assert same.dtype == torch.float32
    torch.testing.assert_close(same, torch.ones(1))


def test_masked_mean_averages_real_entries_and_gives_zero_without_any():
    values = torch.tensor([[1.0, 3.0], [5.0, torch.nan]])

    assert masked_mean(values, torch.tensor([[True, True], [True, False]])) == 3
    assert masked_mean(values, torch.zeros(2, 2, dtype=torch.bool)) == 0


def test_masked_targets_reach_neither_the_action_loss_nor_its_gradient():
    predicted = torch.randn(2, 3, 14, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.zeros(2, 3, 14, dtype=torch.bool)
    mask[:, :2, 7:] = True

    def loss_and_gradient(hidden_value):
        true = torch.where(mask, torch.ones(()), torch.tensor(hidden_value))
        loss = action_error(predicted, true, mask)
        return loss, torch.autograd.grad(loss, predicted)[0]

    plain, gradient = loss_and_gradient(0.0)
    spoiled, spoiled_gradient = loss_and_gradient(float("nan"))

    assert torch.equal(plain, spoiled)
    assert torch.equal(gradient, spoiled_gradient)
    assert not gradient[~mask].any()
    torch.testing.assert_close(plain, (predicted[mask] - 1).square().mean())
