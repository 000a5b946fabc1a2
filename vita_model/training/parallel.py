"""One stage's forward and losses as one module, and how its weights lie on several ranks: copied (DDP) or cut (FSDP2).

Whatever way is taken, the loss is that of the global batch and the gradient its gradient; a part that a batch does not
use gets no gradient at all, so that AdamW leaves it alone.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from vita_data.errors import RequestError
from vita_data.types import Batch
from vita_model.distributed import Ranks
from vita_model.network.configs import LossConfig
from vita_model.network.gemma import CachedLayer
from vita_model.network.layers import Block
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.recipes.recipe import Parallel, Precision, Recipe
from vita_model.training.recompute import recompute_in_backward
from vita_model.training.stages import StageRule, details

_BLOCKS = (Block, CachedLayer, SiglipEncoderLayer)


class StageLoss(nn.Module):
    """What a step differentiates: a stage's forward with its loss terms."""

    def __init__(self, model: Vita, rule: StageRule, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.rule, self.config = rule, config
        self.gathered: torch.dtype | None = None
        """Number format in which cut blocks have their weights; None: that of the weights."""

    def forward(self, batch: Batch, draws: Draws) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Give the weighted terms, whose sum is minimised, and what is logged beside them."""
        prediction = self.rule.predict(self.model, batch, draws)
        num_codes = self.model.config.codebook.num_codes
        return self.rule.loss(prediction, self.config), details(prediction, num_codes=num_codes)


def spread(loss: StageLoss, ranks: Ranks, parallel: Parallel, precision: Precision) -> nn.Module:
    """Lay the weights of a model over the ranks; alone it stays as it is.

    Blocks that are cut are gathered in bf16 where products are taken in it; their gradients are summed in float32.

    Raises:
        RequestError: weights that are cut cannot learn codes by gradient.
    """
    if ranks.world_size == 1:
        return loss
    if parallel is Parallel.FSDP:
        return _cut(loss, ranks, torch.bfloat16 if precision is Precision.BF16 else None)
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    # A batch of one modality leaves the other branch without gradient; buffers are equal by construction.
    return DistributedDataParallel(loss, device_ids=devices, find_unused_parameters=True, forward_sync_buffers=False)


def _cut(loss: StageLoss, ranks: Ranks, gathered: torch.dtype | None) -> nn.Module:
    model = loss.model
    if isinstance(model.codebook.codes, nn.Parameter):
        raise RequestError(
            "codebook.update=grad does not work with the sharded weights of parallel=fsdp; use codebook.update=ema or "
            "parallel=ddp"
        )
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    loss.gathered = gathered
    # What lies between blocks is float32, as with whole weights: some of it computes outside autocast.
    rest = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    inside = dataclasses.replace(rest, param_dtype=gathered)
    vocabulary = [] if model.backbone is None else [model.backbone.gemma.embed_tokens]
    for part in (*blocks_of(model), *vocabulary):
        if gathered is not None:
            _norm_in_float32(part)
        fully_shard(part, mesh=mesh, mp_policy=inside)
    fully_shard(loss, mesh=mesh, mp_policy=rest, ignored_params=set(model.features.parameters()))
    return loss


def _norm_in_float32(block: nn.Module) -> None:
    """Have a block's layer norms compute as autocast has them on a GPU; on a CPU it would mix number formats."""
    for norm in block.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.forward = partial(_float32_norm, norm)  # type: ignore[method-assign]


def _float32_norm(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
    return F.layer_norm(rows.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


def prepare_blocks(model: Vita, recipe: Recipe) -> None:
    """Have blocks recomputed and compiled as a recipe says; before they are spread, after modes are set."""
    if recipe.recompute:
        recompute_in_backward(blocks_of(model))
    if recipe.compile:
        for block in blocks_of(model):
            block.compile()


def compile_whole(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Have parts that only answer compiled, each as one graph of fixed shapes; on a GPU it is replayed as a CUDA graph.

    `begin_answer` comes before each use: what parts gave is theirs until then. After several batch sizes torch leaves
    others uncompiled.
    """
    for part in parts:
        part.compile(dynamic=False, mode="max-autotune" if device.type == "cuda" else None)


def begin_answer(device: torch.device) -> None:
    """Let CUDA graphs write over what their parts gave before; without it they do so whenever another part begins."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def blocks_of(model: Vita) -> list[nn.Module]:
    """List the repeated blocks of all parts but DINOv2: what is cut, compiled or computed again one at a time."""
    parts = [model.component(name) for name in model.components]
    return [block for part in parts for block in part.modules() if isinstance(block, _BLOCKS)]


@contextmanager
def without_sync(spread_loss: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Leave gradients of copied weights on their ranks for all micro-batches but the last one of a step.

    Those of cut weights are summed and cut after each: kept whole they would take the room that cutting saves, and
    FSDP2 does not keep them for a part that the batch leaves idle.
    """
    if isinstance(spread_loss, DistributedDataParallel) and not is_last:
        with spread_loss.no_sync():
            yield
        return
    yield


@contextmanager
def unsharded(spread_loss: nn.Module) -> Iterator[None]:
    """Have the weights whole where the model is called past the module that was spread, as previews do."""
    if not isinstance(spread_loss, FSDPModule):
        yield
        return
    spread_loss.unshard()
    gathered, device = cast("StageLoss", spread_loss).gathered, next(spread_loss.parameters()).device
    try:
        # Weights gathered in another format want their inputs in it.
        with torch.autocast(device.type, gathered, enabled=gathered is not None):
            yield
    finally:
        spread_loss.reshard()
