"""Low-rank adapters for Gemma's matrices, which fine-tune the backbone on one GPU.

Source: LoRA, arXiv 2106.09685, section 4.1.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ADAPTERS = "lora_"
"""Prefix of the adapters' parameters within their layer."""


class LoraLinear(nn.Linear):
    """A linear layer plus a product of two thin matrices; at first it computes what the replaced layer did.

    It takes over that layer's parameters under their names, so that checkpoints of both differ only by the adapters.
    """

    def __init__(self, layer: nn.Linear, *, rank: int, alpha: float) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.scale = alpha / rank
        self.lora_down = nn.Parameter(torch.empty(rank, layer.in_features, device=layer.weight.device))
        self.lora_up = nn.Parameter(torch.zeros(layer.out_features, rank, device=layer.weight.device))
        nn.init.normal_(self.lora_down, std=rank**-0.5 / layer.in_features**0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows [..., in] to [..., out]; matrices that are stored in another number format are converted."""
        change = F.linear(F.linear(rows, self.lora_down.to(rows.dtype)), self.lora_up.to(rows.dtype))
        bias: Tensor | None = self.bias
        bias = None if bias is None else bias.to(rows.dtype)
        return F.linear(rows, self.weight.to(rows.dtype), bias) + self.scale * change


def add_adapters(blocks: nn.Module, *, rank: int, alpha: float) -> None:
    """Replace every linear layer inside `blocks` by one with an adapter."""
    for block in list(blocks.modules()):
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block, name, LoraLinear(layer, rank=rank, alpha=alpha))


def adapters_of(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of all adapters."""
    for layer in model.modules():
        if isinstance(layer, LoraLinear):
            yield from (layer.lora_down, layer.lora_up)
