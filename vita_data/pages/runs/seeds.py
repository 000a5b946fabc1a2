"""Means over seeds of training, with their intervals."""

import math
import statistics
from collections.abc import Sequence

_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for a two-sided 95% interval, by number of seeds."""


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Give the mean over at least two seeds, and half the width of its 95% interval."""
    half = _T95.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half
