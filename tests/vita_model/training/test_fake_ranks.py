"""A co-training step and a checkpoint's plan of several ranks on tensors without storage, at full size too.

Each rank runs in its own process: in one process, the second rank planned the first one's offsets.
Collectives of torch's `fake` backend return at once, so that shapes and code paths are real and values are not.
Replaced, because they depend on values: figures for the log, and learning by the codebook, which is frozen in this
stage (`fake_model`); the mesh and shards' offsets are computed outside the fake mode. Not covered: the results of
collectives and the writing of files, which are tested with small models over gloo; fused AdamW, which needs a GPU.
"""

import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.vita_model.ranks import run_ranks
from tests.vita_model.training.test_ranks import recipe_of
from vita_data.types import Stage
from vita_model.distributed import Ranks
from vita_model.network.vita import Vita
from vita_model.training import parallel
from vita_model.training.batches import random_batch
from vita_model.training.checkpoint import staging
from vita_model.training.checkpoint.components import TrainerState, snapshot_of
from vita_model.training.checkpoint.shards import ChunkPlanner
from vita_model.training.checkpoint.staging import Staging
from vita_model.training.checkpoint.state import Progress
from vita_model.training.estimate.fake_model import fake_draws, fake_model
from vita_model.training.optim import make_optimizer, moments_of
from vita_model.training.parallel import StageLoss, blocks_of, prepare_blocks, spread
from vita_model.training.recipes.load import load_recipe
from vita_model.training.recipes.recipe import Parallel, Precision, Recipe, resolved
from vita_model.training.stages import RULES

COTRAIN = Path(__file__).parents[3] / "pipelines" / "recipes" / "cotrain.py"


@contextmanager
def fake_rank() -> Iterator[Ranks]:
    """Be the rank that the environment names, among ranks whose messages go nowhere."""
    rank, num_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with ExitStack() as stack:
        for module, name in ((parallel, "_mesh"), (staging, "_offset")):
            stack.enter_context(patch.object(module, name, with_values(getattr(module, name))))
        stack.enter_context(patch.object(parallel, "details", lambda *_, **__: {}))
        dist.init_process_group("fake", rank=rank, world_size=num_ranks, store=FakeStore())
        stack.callback(dist.destroy_process_group)
        yield Ranks(rank=rank, world_size=num_ranks)


def with_values(real: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function make tensors that have values."""

    def call(*args: object) -> object:
        with unset_fake_temporarily():
            return real(*args)

    return call


class Runs:
    """Counts how often each trained block is called, and how often it is computed."""

    def __init__(self, model: Vita) -> None:
        self.called, self.computed = Counter[int](), Counter[int]()
        for number, block in enumerate(blocks_of(model)):
            if any(parameter.requires_grad for parameter in block.parameters()):
                block.register_forward_pre_hook(lambda *_, number=number: self.called.update([number]))
                block.forward = self._counted(number, block.forward)

    def _counted(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.computed.update([number])
            return forward(*args, **kwargs)

        return call


def take_step(model: Vita, recipe: Recipe, ranks: Ranks, size: int) -> torch.optim.Optimizer:
    """Take a step of a video and a paired batch; check that it shards, recomputes and updates all that it trains."""
    runs = Runs(model)
    prepare_blocks(model, recipe)
    loss = spread(StageLoss(model, RULES[recipe.stage], recipe.loss), ranks, recipe)
    assert isinstance(loss, FSDPModule)
    assert all(isinstance(block, FSDPModule) for block in blocks_of(model))
    optimizer = make_optimizer(model, recipe.optimizer)
    for modality in RULES[recipe.stage].modalities:
        batch = random_batch(modality, recipe.stage, size, ranks.device, windows=recipe.windows)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision is Precision.BF16, cache_enabled=False):
            terms, _ = loss(batch, fake_draws(recipe, batch))
        torch.stack(list(terms.values())).sum().backward()
    assert runs.called
    assert {number: 2 * count for number, count in runs.called.items()} == runs.computed
    used = [parameter for parameter in model.parameters() if parameter.grad is not None]
    assert all(isinstance(parameter.grad, DTensor) and parameter.requires_grad for parameter in used)
    torch.nn.utils.clip_grad_norm_(used, recipe.optimizer.max_grad_norm)
    optimizer.step()
    assert all(parameter in optimizer.state for parameter in used)
    return optimizer


def write_plan(recipe: Recipe, size: int, folder: str) -> None:
    """Take a step, then plan this rank's part of the checkpoint and write the plan to a file."""
    with fake_rank() as ranks, fake_model(recipe) as model:
        optimizer = take_step(model, recipe, ranks, size)
        state = TrainerState(optimizer=moments_of(optimizer, model), torch_rng=torch.empty(0), draw_rng=torch.empty(0))
        progress = Progress(step=1, stage=recipe.stage, recipe={}, sampler={}, statistics={}, drawn={}, features="")
        snapshot = snapshot_of(model, state, progress)
        planner = ChunkPlanner()
        planner.set_up_planner(Staging(ranks).copy({**snapshot.weights, **snapshot.optimizer}))
        plan = planner.create_local_plan()
    (Path(folder) / str(ranks.rank)).write_bytes(pickle.dumps(plan))


def bytes_of(plan: SavePlan) -> int:
    data = [item.tensor_data for item in plan.items if item.tensor_data is not None]
    return sum(one.chunk.sizes.numel() * one.properties.dtype.itemsize for one in data)


def check(recipe: Recipe, num_ranks: int, size: int, folder: Path) -> tuple[int, list[int]]:
    """Let DCP check that the ranks' parts make up all tensors; returns all bytes, and those of each rank's part."""
    run_ranks(write_plan, num_ranks, recipe, size, str(folder), timeout_s=400)
    plans = [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(num_ranks)]
    mine = [bytes_of(plan) for plan in plans]
    merged, metadata = ChunkPlanner().create_global_plan(plans)  # raises if parts overlap or are missing
    tables: list[Any] = list(metadata.state_dict_metadata.values())
    whole = sum(one.size.numel() * one.properties.dtype.itemsize for one in tables)
    assert sum(map(bytes_of, merged)) == whole
    return whole, mine


@pytest.mark.parametrize("shard_ranks", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_the_parts_of_all_ranks_make_up_a_checkpoint_and_none_is_planned_twice(
    tmp_path: Path, shard_ranks: int | None
) -> None:
    num_ranks = 2 if shard_ranks is None else 4
    recipe = recipe_of(Stage.COTRAIN, Parallel.FSDP, recompute=True, precision=Precision.BF16, shard_ranks=shard_ranks)
    whole, mine = check(recipe, num_ranks, 2, tmp_path)
    assert sum(mine) == whole  # replicas are divided before anything is copied
    assert max(mine) < 1.3 * whole / num_ranks


@pytest.mark.slow
def test_full_size_co_training_takes_a_step_and_plans_its_checkpoint_on_two_ranks(tmp_path: Path) -> None:
    recipe = resolved(load_recipe(COTRAIN))
    assert (recipe.parallel, recipe.recompute, recipe.precision) == (Parallel.FSDP, True, Precision.BF16)
    whole, mine = check(recipe, 2, 2, tmp_path)
    assert whole > 3 * 4 * 2.3e9  # float32 weights and both moments of a backbone of this size
    assert sum(mine) == whole
    assert max(mine) < 0.51 * whole
