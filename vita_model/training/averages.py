"""Optional moving averages of the trained weights, for smoother results."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverages:
    """One average per trained parameter, sharded like the parameter."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards its parameter."""
        for name, parameter in self._parameters.items():
            self._averages[name].lerp_(parameter.detach(), 1 - self._decay)

    def state(self) -> Mapping[str, Tensor]:
        """Give the averages themselves, by the names of their parameters; a resumed run fills them."""
        return self._averages
