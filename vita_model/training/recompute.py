"""Activation checkpointing: blocks forget what they computed and compute it again in the backward pass.

Memory for about a third more arithmetic. Names of weights, and what a block gives, stay as they are.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_in_backward(blocks: Iterable[nn.Module]) -> None:
    """Let the blocks that train keep only their inputs for the backward pass.

    A block's forward is replaced, not its call: what hangs on the call, FSDP2's gathering of weights, stays outside and
    is done when the block is computed again.
    """
    for block in blocks:
        if any(parameter.requires_grad for parameter in block.parameters()):
            block.forward = partial(_forgetful, block.forward)


def _forgetful(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # No block draws random numbers, so there is no state of a generator to bring back.
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
