"""A stage's forward pass and losses as one module, and its weights on several ranks: copied (DDP) or sharded (FSDP2).

In all cases, the loss and its gradient are those of the global batch. Parts that a batch does not use get no gradient,
so that AdamW skips them.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
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
    """A stage's forward pass with its loss terms, as the module to differentiate."""

    def __init__(self, model: Vita, rule: StageRule, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.rule, self.config = rule, config
        self.gathered: torch.dtype | None = None
        """Number format of gathered weights of sharded blocks; None: unchanged."""

    def forward(self, batch: Batch, draws: Draws) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Give the weighted terms, whose sum is minimized, and additional figures to log."""
        prediction = self.rule.predict(self.model, batch, draws)
        num_codes = self.model.config.codebook.num_codes
        return self.rule.loss(prediction, self.config), details(prediction, num_codes=num_codes)


def spread(loss: StageLoss, ranks: Ranks, recipe: Recipe) -> nn.Module:
    """Distribute the weights of a model over the ranks; with one rank, nothing changes.

    With precision bf16, sharded blocks are gathered in bf16; their gradients are summed in float32. With `shard_ranks`,
    weights are sharded within groups of that many ranks, and only gradients cross their borders (HSDP).

    Raises:
        RequestError: codes that learn by gradient cannot be sharded, or groups of that size do not fit the ranks.
    """
    if ranks.world_size == 1:
        return loss
    if recipe.parallel is Parallel.FSDP:
        return _sharded(loss, ranks, recipe)
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    # A batch of one modality gives no gradient to the other's branch; buffers are equal by construction.
    copied = DistributedDataParallel(loss, device_ids=devices, find_unused_parameters=True, forward_sync_buffers=False)
    # By default DDP measures every hundredth step.
    copied._set_ddp_runtime_logging_sample_rate(1)  # type: ignore[no-untyped-call]
    return copied


def _sharded(loss: StageLoss, ranks: Ranks, recipe: Recipe) -> nn.Module:
    model, gathered = loss.model, torch.bfloat16 if recipe.precision is Precision.BF16 else None
    if isinstance(model.codebook.codes, nn.Parameter):
        raise RequestError(
            "codebook.update=grad does not work with the sharded weights of parallel=fsdp; use codebook.update=ema or "
            "parallel=ddp"
        )
    mesh = _mesh(ranks, recipe.shard_ranks)
    loss.gathered = gathered
    # Parts outside blocks stay in float32, as without sharding, because some of them run outside autocast.
    rest = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    inside = dataclasses.replace(rest, param_dtype=gathered)
    vocabulary = [] if model.backbone is None else [model.backbone.gemma.embed_tokens]
    for part in (*blocks_of(model), *vocabulary):
        if gathered is not None:
            _norm_in_float32(part)
        fully_shard(part, mesh=mesh, mp_policy=inside)
    fully_shard(loss, mesh=mesh, mp_policy=rest, ignored_params=set(model.features.parameters()))
    return loss


def _mesh(ranks: Ranks, shard_ranks: int | None) -> DeviceMesh:
    """Arrange the ranks in groups, each of which holds all weights once; consecutive ranks are on one node."""
    size, device = ranks.world_size, ranks.device.type
    if shard_ranks is None or shard_ranks >= size:
        return init_device_mesh(device, (size,))
    if size % shard_ranks:
        raise RequestError(
            f"expected shard_ranks to divide the {size} ranks, got {shard_ranks}; --set shard_ranks to the number of "
            "GPUs of a node, or to none"
        )
    return init_device_mesh(device, (size // shard_ranks, shard_ranks), mesh_dim_names=("replicate", "shard"))


def _norm_in_float32(block: nn.Module) -> None:
    """Run a block's layer norms in float32, as autocast does on a GPU; on a CPU it would mix number formats."""
    for norm in block.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.forward = partial(_float32_norm, norm)  # type: ignore[method-assign]


def _float32_norm(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
    return F.layer_norm(rows.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


def prepare_blocks(model: Vita, recipe: Recipe) -> None:
    """Set up recomputation and compilation of blocks; call after `set_modes` and before `spread`."""
    if recipe.recompute:
        recompute_in_backward(blocks_of(model))
    if recipe.compile:
        for block in blocks_of(model):
            block.compile()


def compile_whole(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Compile parts for inference, each as one graph with fixed shapes; on a GPU it is replayed as a CUDA graph.

    Call `begin_answer` before each inference, because it allows overwriting earlier outputs. After several different
    batch sizes, torch stops compiling new ones.
    """
    for part in parts:
        part.compile(dynamic=False, mode="max-autotune" if device.type == "cuda" else None)


def begin_answer(device: torch.device) -> None:
    """Allow CUDA graphs to overwrite earlier outputs; without this call, each part may overwrite those of others."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def blocks_of(model: Vita) -> list[nn.Module]:
    """List the repeated blocks of all parts except DINOv2: the units of sharding, compilation and recomputation."""
    parts = [model.component(name) for name in model.components]
    return [block for part in parts for block in part.modules() if isinstance(block, _BLOCKS)]


@contextmanager
def without_sync(spread_loss: nn.Module, *, is_last: bool) -> Iterator[None]:
    """With DDP, synchronize gradients only after the last micro-batch of a step.

    With FSDP2, gradients are reduced after each micro-batch: keeping them unsharded would need the memory that sharding
    saves, and FSDP2 does not keep them for parts that a batch does not use.
    """
    if isinstance(spread_loss, DistributedDataParallel) and not is_last:
        with spread_loss.no_sync():
            yield
        return
    yield


def gradient_wait_s(spread_loss: nn.Module) -> float | None:
    """Measure how long the last backward pass waited for other ranks after its own work; None if that is not known.

    DDP takes the times itself: from the first sum of gradients to the last one, without the part in which this rank
    still computed. Waiting for a slower rank counts too. FSDP2 takes no such times.
    """
    if not isinstance(spread_loss, DistributedDataParallel) or spread_loss.logger is None:
        return None
    spread_loss.logger.set_runtime_stats_and_log()  # Otherwise it would do so at the beginning of the next step.
    found = spread_loss._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    whole, hidden = (found.get(f"backward_{name}") for name in ("comm_time", "compute_comm_overlap_time"))
    return None if whole is None or hidden is None else max(whole - hidden, 0) / 1e9


@contextmanager
def unsharded(spread_loss: nn.Module) -> Iterator[None]:
    """Unshard the weights, for calls that bypass the wrapped module, such as previews."""
    if not isinstance(spread_loss, FSDPModule):
        yield
        return
    spread_loss.unshard()
    gathered, device = cast("StageLoss", spread_loss).gathered, next(spread_loss.parameters()).device
    try:
        # Weights gathered in another format need inputs in that format.
        with torch.autocast(device.type, gathered, enabled=gathered is not None):
            yield
    finally:
        spread_loss.reshard()
