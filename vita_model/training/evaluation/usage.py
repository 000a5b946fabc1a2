"""A plot of how the two modalities use the codebook.

In a shared codebook a code need not mean the same for both modalities: they may use different codes, or the same codes
for unrelated motions. This plot and `overlap` show the first case; only paired data can show the second.
"""

import numpy as np
from torch import Tensor

from vita_data.types import Float64, Image

_HEIGHT, _WIDTH = 160, 640
_DECADES = 4
"""Powers of ten between the bottom and the top of a panel."""
_COLOURS = ((31, 119, 180), (255, 127, 14))
_GRID = 225


def usage_plot(usage: Tensor) -> Image:
    """Draw the shares of codes [2, K] (video above, actions below) as uint8 [320, 640, 3].

    Both panels are sorted by video's shares, so that the same codes are below each other. Bars are logarithmic, from
    1/10,000 at the bottom to 1 at the top.
    """
    shares = usage.double().cpu().numpy()
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    order = np.argsort(-shares[0], kind="stable")
    return np.concatenate([_panel(row[order], colour) for row, colour in zip(shares, _COLOURS, strict=True)])


def _panel(shares: Float64, colour: tuple[int, int, int]) -> Image:
    columns = np.array([part.max() for part in np.array_split(shares, min(_WIDTH, len(shares)))])
    columns = columns[np.arange(_WIDTH) * len(columns) // _WIDTH]
    heights = np.clip(1 + np.log10(np.maximum(columns, 1e-12)) / _DECADES, 0, 1) * _HEIGHT
    panel = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    panel[:: _HEIGHT // _DECADES] = _GRID
    panel[np.arange(_HEIGHT, 0, -1)[:, None] <= heights[None, :]] = colour
    return panel
