"""Masked means by name, over batches and ranks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vita_model.distributed import all_names, all_sum


@dataclass(slots=True)
class MaskedMeans:
    """Sums and counts by name, combined over all ranks at the end."""

    device: torch.device
    _totals: dict[str, Tensor] = field(default_factory=dict)
    _windows: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add values where the mask, which must broadcast to their shape, is True."""
        mask = mask.expand(values.shape)
        pair = torch.stack([torch.where(mask, values.double(), 0.0).sum(), mask.double().sum()]).cpu()
        self._add_pair(name, pair)

    def add_by_source(self, kind: str, name: str, values: Tensor, mask: Tensor, sources: Sequence[str]) -> None:
        """Add the values of a batch [B, ...] as KIND/NAME, and each sample's as KIND/SOURCE/NAME."""
        rows, real = (each[..., None].flatten(1) for each in (values.double(), mask.expand(values.shape)))
        # One transfer from the device, however many sources there are.
        pairs = torch.stack([torch.where(real, rows, 0.0).sum(dim=1), real.double().sum(dim=1)], dim=1).cpu()
        self._add_pair(f"{kind}/{name}", pairs.sum(dim=0))
        for source, pair in zip(sources, pairs, strict=True):
            self._add_pair(f"{kind}/{source}/{name}", pair)

    def count_windows(self, kind: str, mask: Tensor, sources: Sequence[str]) -> None:
        """Count the samples of a batch [B, ...] that have an unmasked value, as KIND/SOURCE/windows."""
        real = mask.flatten(1).any(dim=1).tolist()
        self._windows.update(f"{kind}/{source}/windows" for source, one in zip(sources, real, strict=True) if one)

    def _add_pair(self, name: str, pair: Tensor) -> None:
        self._totals[name] = self._totals[name] + pair if name in self._totals else pair

    def means(self) -> dict[str, float]:
        """Average all added values of all ranks; names without any unmasked value are left out."""
        # Ranks may have different names.
        names, nothing = all_names(self._totals), torch.zeros(2, dtype=torch.float64)
        if not names:
            return {}
        pairs = all_sum(torch.stack([self._totals.get(name, nothing) for name in names]).to(self.device)).tolist()
        return {name: total / count for name, (total, count) in zip(names, pairs, strict=True) if count}

    def windows(self) -> dict[str, float]:
        """Sum the counted windows over all ranks."""
        names = all_names(self._windows)
        counts = torch.tensor([float(self._windows[name]) for name in names], device=self.device)
        return dict(zip(names, all_sum(counts).tolist(), strict=True))
