"""Masked means by name, over batches and ranks."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vita_model.distributed import all_names, all_sum


@dataclass(slots=True)
class MaskedMeans:
    """Sums and counts by name, combined over all ranks at the end."""

    device: torch.device
    _totals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add values where the mask, which must broadcast to their shape, is True."""
        mask = mask.expand(values.shape)
        pair = torch.stack([torch.where(mask, values.double(), 0.0).sum(), mask.double().sum()]).cpu()
        self._totals[name] = self._totals[name] + pair if name in self._totals else pair

    def means(self) -> dict[str, float]:
        """Average all added values of all ranks; names without any unmasked value are left out."""
        # Ranks may have different names.
        nothing = torch.zeros(2, dtype=torch.float64)
        found = {
            name: all_sum(self._totals.get(name, nothing).to(self.device)).tolist() for name in all_names(self._totals)
        }
        return {name: total / count for name, (total, count) in found.items() if count}
