"""AdamW over what a stage trains, and the learning rate as a pure function of the step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vita_model.distributed import laid_like, whole_tensor
from vita_model.training.recipes.recipe import OptimizerConfig, Schedule

_FLOOR = 0.1
"""Where the cosine ends, as a share of the peak."""
_DECAYED = (nn.Linear, nn.Conv2d)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over the parameters that train; only matrices decay: no norm, bias, embedding or query."""
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, _DECAYED)}
    training = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in training if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in training if id(p) not in matrices], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


def whole_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Give an optimizer's state with cut tensors put together; every rank must call this."""
    state = optimizer.state_dict()
    moments = {
        number: {name: whole_tensor(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {"state": moments, "param_groups": state["param_groups"]}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take a whole state back, each tensor laid as its parameter is; any number of ranks may have written it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            # What has no shape of its parameter counts steps.
            name: laid_like(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Give the rate of step (0 is the first): a linear ramp, then constant or a cosine down to a tenth."""
    ramp = min(1.0, (step + 1) / max(config.ramp_steps, 1))
    if config.schedule is Schedule.CONSTANT:
        return config.lr * ramp
    done = min(max(step - config.ramp_steps, 0) / max(config.schedule_steps - config.ramp_steps, 1), 1.0)
    return config.lr * ramp * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))
