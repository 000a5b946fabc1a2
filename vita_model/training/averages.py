"""Optional moving averages of the trained weights, for smoother results."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vita_model.distributed import laid_like, whole


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

    def state(self) -> dict[str, Tensor]:
        """Give the unsharded averages on the CPU; every rank must call this."""
        return whole(self._averages)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore averages.

        Raises:
            KeyError: an average is missing.
        """
        self._averages = {name: laid_like(state[name], own).clone() for name, own in self._averages.items()}
