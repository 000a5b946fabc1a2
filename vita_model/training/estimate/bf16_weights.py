"""A model with matrices in bf16, to run forward and backward passes for which float32 weights are too large."""

from collections.abc import Collection
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from vita_model.network.configs import Component, VitaConfig
from vita_model.network.lora import LoraLinear
from vita_model.network.vita import Vita


def held_in_bf16(config: VitaConfig, builds: Collection[Component]) -> Vita:
    """Build a model of random weights whose matrices are stored in bf16, which needs half the memory.

    Each matrix is converted to its input's format only when it is used.
    """
    with no_init_weights():
        model = Vita(config, builds)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            for parameter in module.parameters(recurse=False):
                parameter.data = torch.empty_like(parameter, dtype=torch.bfloat16).normal_(std=0.02)
        elif isinstance(module, (nn.LayerNorm, nn.Conv2d)):
            module.reset_parameters()
        if isinstance(module, nn.Linear) and not isinstance(module, LoraLinear):  # which converts by itself
            module.forward = partial(_linear_in_input_format, module)  # type: ignore[method-assign]
    return model


def _linear_in_input_format(linear: nn.Linear, rows: Tensor) -> Tensor:
    bias: Tensor | None = linear.bias
    return F.linear(rows, linear.weight.to(rows.dtype), None if bias is None else bias.to(rows.dtype))
