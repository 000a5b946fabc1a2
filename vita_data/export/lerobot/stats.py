"""Statistics of features as lerobot has them: min, max, mean, std, count and five quantiles, of episodes and of all.

Masked values and images that are absent do not count, unless there is nothing else.
"""

from collections.abc import Mapping

import numpy as np

from vita_data.types import Bool, Float64, Image, Int64, Json

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
MAX_IMAGES = 100
"""How many images of an episode are looked at."""
_MAX_ROWS = 500_000
_LEVELS = np.arange(256) / 255.0


class ColumnStats:
    """Collects rows [T, D] of one feature. Quantiles are exact up to 500,000 rows, then of evenly spaced rows."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._real = np.zeros(width, np.int64)
        self._sums, self._squares = np.zeros(width), np.zeros(width)
        self._low, self._high = np.full(width, np.inf), np.full(width, -np.inf)
        self._rows: list[Float64] = []
        self._num_kept, self._every = 0, 1

    def add(self, values: Float64, real: Bool | None = None) -> None:
        """Count rows [T, D], of which only the real values [T, D] are looked at."""
        real = np.ones(values.shape, bool) if real is None else real
        self._real += real.sum(axis=0)
        self._sums += np.where(real, values, 0.0).sum(axis=0)
        self._squares += np.where(real, values**2, 0.0).sum(axis=0)
        self._low = np.minimum(self._low, np.where(real, values, np.inf).min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, np.where(real, values, -np.inf).max(axis=0, initial=-np.inf))
        first = -self._count % self._every
        self._count += len(values)
        self._keep(np.where(real, values, np.nan)[first :: self._every])

    def _keep(self, rows: Float64) -> None:
        self._rows.append(rows)
        self._num_kept += len(rows)
        if self._num_kept > _MAX_ROWS:
            self._rows = [np.concatenate(self._rows)[::2]]
            self._num_kept, self._every = len(self._rows[0]), 2 * self._every

    def figures(self) -> dict[str, Float64]:
        """Return each figure [D]; zeros for a column without a real value."""
        seen, num = self._real > 0, np.maximum(self._real, 1)
        mean = self._sums / num
        kept = np.concatenate(self._rows)
        kept[:, ~seen] = 0.0
        return {
            "min": np.where(seen, self._low, 0.0),
            "max": np.where(seen, self._high, 0.0),
            "mean": mean,
            "std": np.sqrt(np.maximum(self._squares / num - mean**2, 0.0)),
            "count": np.array([self._count], np.float64),
            **dict(zip(QUANTILES, np.nanquantile(kept, list(QUANTILES.values()), axis=0), strict=True)),
        }


class PixelStats:
    """Counts the levels of the three channels of images."""

    def __init__(self) -> None:
        self._levels: Int64 = np.zeros((3, 256), np.int64)
        self._count = 0

    def add(self, pixels: Image) -> None:
        """Count an image."""
        self._levels += [np.bincount(pixels[..., channel].reshape(-1), minlength=256) for channel in range(3)]
        self._count += 1

    def merge(self, other: "PixelStats") -> None:
        """Count the images that another one has counted."""
        self._levels = self._levels + other._levels
        self._count += other._count

    def figures(self) -> dict[str, Float64]:
        """Return each figure [3, 1, 1] with levels from 0 to 1; those of black if there is no image."""
        levels = self._levels if self._count else np.eye(1, 256, dtype=np.int64).repeat(3, axis=0)
        shares = np.cumsum(levels, axis=1) / levels.sum(axis=1, keepdims=True)
        mean = levels @ _LEVELS / levels.sum(axis=1)
        square = levels @ _LEVELS**2 / levels.sum(axis=1)
        found = {
            "min": _LEVELS[np.argmax(levels > 0, axis=1)],
            "max": _LEVELS[255 - np.argmax(levels[:, ::-1] > 0, axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(square - mean**2, 0.0)),
        } | {name: _LEVELS[np.argmax(shares >= share, axis=1)] for name, share in QUANTILES.items()}
        return {"count": np.array([self._count], np.float64)} | {
            name: values.reshape(3, 1, 1) for name, values in found.items()
        }


def sampled_rows(num_rows: int) -> frozenset[int]:
    """Return the rows of an episode whose images are looked at, evenly spaced."""
    return frozenset(np.linspace(0, num_rows - 1, min(num_rows, MAX_IMAGES)).round().astype(int).tolist())


def column_figures(
    columns: Mapping[str, np.ndarray], masks: Mapping[str, str], total: Mapping[str, ColumnStats]
) -> Json:
    """Add an episode's columns to those of the dataset and return its own figures.

    Args:
        columns: the values of each column.
        masks: the column that says which values of another are real.
        total: the statistics of the whole dataset.
    """
    found: dict[str, Json] = {}
    for key, values in columns.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        real = columns[masks[key]] if key in masks else None
        own = ColumnStats(rows.shape[1])
        for stats in (own, total[key]):
            stats.add(rows, real)
        found[key] = own.figures()
    return found


def as_lists(figures: Mapping[str, np.ndarray]) -> Json:
    """Return figures in the order and types of lerobot's files."""
    return {name: figures[name].astype(int).tolist() if name == "count" else figures[name].tolist() for name in NAMES}
