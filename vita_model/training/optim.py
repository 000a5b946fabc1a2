"""AdamW for the trained parameters, and the learning rate as a pure function of the step."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vita_model.distributed import laid_like
from vita_model.training.recipes.recipe import OptimizerConfig, Schedule

_FLOOR = 0.1
"""End of the cosine schedule, as a fraction of the peak."""
_DECAYED = (nn.Linear, nn.Conv2d)
_COUNT = "step"
"""Name of AdamW's number of updates of a parameter, its only state that does not have the parameter's shape."""


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW for the trained parameters; only matrices decay, not norms, biases, embeddings or queries."""
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, _DECAYED)}
    training = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in training if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in training if id(p) not in matrices], "weight_decay": 0.0},
    ]
    # One kernel for all parameters; on a CPU the results would differ from those of earlier versions.
    fused = all(p.is_cuda for p in training) or None
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def moments_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Give an optimizer's state as `KIND/PARAMETER`; parameters that no step has used have none."""
    return {
        f"{kind}/{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def empty_moments(optimizer: torch.optim.Optimizer, model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Make an optimizer's state of the names that `moments_of` gave, to be filled in place; sharded as the parameters.

    Raises:
        KeyError: the model has no such parameter.
    """
    parameters, made = dict(model.named_parameters()), {}
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    for full in names:
        kind, _, name = full.partition("/")
        parameter = parameters[name]
        # Only the fused optimizer counts steps on the device.
        place = parameter.device if is_fused else torch.device("cpu")
        value = torch.zeros((), device=place) if kind == _COUNT else torch.zeros_like(parameter, requires_grad=False)
        optimizer.state.setdefault(parameter, {})[kind] = made[full] = value
    return made


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an unsharded state, as earlier versions stored it, and shard each tensor like its parameter.

    Rates, decay and other settings stay those of the optimizer, because a resumed run may have changed them.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            # A value without its parameter's shape is a step counter.
            name: laid_like(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Give the learning rate of a step (0 is the first): a linear ramp, then constant or a cosine down to a tenth."""
    ramp = min(1.0, (step + 1) / max(config.ramp_steps, 1))
    if config.schedule is Schedule.CONSTANT:
        return config.lr * ramp
    done = min(max(step - config.ramp_steps, 0) / max(config.schedule_steps - config.ramp_steps, 1), 1.0)
    return config.lr * ramp * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))
