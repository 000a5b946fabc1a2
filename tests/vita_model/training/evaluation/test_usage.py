"""The picture of code usage: where bars stand, and how high."""

import numpy as np
import torch

from vita_model.training.evaluation.usage import usage_plot


def test_equal_use_is_a_flat_row_and_an_unused_code_has_no_bar() -> None:
    usage = torch.tensor([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0]])
    picture = usage_plot(usage)
    blue, orange = (np.all(picture == colour, axis=-1) for colour in ((31, 119, 180), (255, 127, 14)))

    assert picture.shape == (320, 640, 3)
    # A share of a quarter is 0.6 of a decade below the top of four.
    assert set(blue[:160].sum(axis=0).tolist()) == {int(160 * (1 + np.log10(0.25) / 4))}
    assert orange[160:, :160].sum() == 160 * 160
    assert not orange[:, 160:].any()


def test_codes_stand_in_the_order_of_the_videos_use() -> None:
    picture = usage_plot(torch.tensor([[0.1, 0.9], [1.0, 0.0]]))
    orange = np.all(picture == (255, 127, 14), axis=-1)

    assert not orange[160:, :320].any()
    assert orange[160:, 320:].all()


def test_no_use_at_all_is_an_empty_picture() -> None:
    assert not np.all(usage_plot(torch.zeros(2, 8)) == (31, 119, 180), axis=-1).any()
