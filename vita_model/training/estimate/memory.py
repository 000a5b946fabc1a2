"""Estimate a run's memory per rank: weights, gradients, optimizer, averages, copies, activations.

Everything is counted on tensors without storage. Activations are the bytes that autograd saves in a forward pass. They
are linear in the batch size, so that two small batches are enough to predict any size. Not counted: the device's
context, allocator fragmentation, the loader's batches, and temporary memory of single operations.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, UntypedStorage

from vita_data.errors import RequestError
from vita_data.types import Modality, WindowSpec
from vita_model.network.vita import Vita
from vita_model.training.estimate.fake_model import fake_model, fake_terms
from vita_model.training.optim import make_optimizer
from vita_model.training.parallel import blocks_of
from vita_model.training.recipes.recipe import Parallel, Precision, Recipe
from vita_model.training.recompute import recompute_in_backward
from vita_model.training.stages import RULES, set_modes

_FLOAT32, _BFLOAT16 = 4, 2
_SIZES = (2, 3)
"""Batch sizes that are counted; a single sample would use other code paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes on one rank."""

    num_ranks: int
    parallel: Parallel
    precision: Precision
    recompute: bool
    modality: Modality
    """Modality whose batches need the most memory."""
    micro_batch: int
    """Samples per rank and micro-batch."""
    weights: int
    gradients: int
    optimizer: int
    """State of AdamW after a step, counted on the meta device."""
    averages: int
    exchange: int
    """Buckets of DDP; or what FSDP2 gathers: the parts between blocks, two blocks, and one block's gradient."""
    copies: int
    """bf16 copies of weights, which autocast keeps until the backward pass."""
    activations: int
    """What autograd saves, plus the largest block once more for the backward pass."""

    @property
    def total(self) -> int:
        """The sum of all: an overestimate, since gradients are allocated as activations are freed."""
        states = self.weights + self.gradients + self.optimizer + self.averages
        return states + self.exchange + self.copies + self.activations


def estimate_memory(
    recipe: Recipe,
    *,
    num_ranks: int,
    windows: WindowSpec | None = None,
    modalities: Collection[Modality] | None = None,
) -> MemoryEstimate:
    """Estimate a recipe's memory per rank, for batches of `windows` (None: the recipe's, or one view).

    `modalities` are those that the sources have batches of; None: all of the recipe's.

    Raises:
        RequestError: the model cannot be built, or no modality has batches.
    """
    (estimate,) = estimates_of(recipe, [num_ranks], windows, modalities)
    return estimate


def estimates_of(
    recipe: Recipe,
    nums_ranks: Sequence[int],
    windows: WindowSpec | None = None,
    modalities: Collection[Modality] | None = None,
) -> list[MemoryEstimate]:
    """Estimate for several numbers of ranks at the cost of one; raises as `estimate_memory`."""
    come = [m for m in batches_that_come(recipe) if modalities is None or m in modalities]
    with fake_model(recipe) as model:
        kept = _all_kept(recipe, model, come, windows or recipe.windows)
    moments = _optimizer_bytes(recipe)
    return [_estimate(recipe, model, kept, moments, num_ranks) for num_ranks in nums_ranks]


def _estimate(
    recipe: Recipe, model: Vita, kept: Mapping[Modality, "_Kept"], moments: int, num_ranks: int
) -> MemoryEstimate:
    sizes = {modality: _micro_batch(recipe, modality, num_ranks) for modality in kept}
    modality = max(kept, key=lambda one: kept[one].of(sizes[one]))
    is_cut = recipe.parallel is Parallel.FSDP and num_ranks > 1
    parts = min(recipe.shard_ranks or num_ranks, num_ranks) if is_cut else 1
    trained = _numel(p for p in model.parameters() if p.requires_grad)
    features = _numel(model.features.parameters())
    cut = _numel(model.parameters()) - features
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    return MemoryEstimate(
        num_ranks=num_ranks,
        parallel=recipe.parallel,
        precision=recipe.precision,
        recompute=recipe.recompute,
        modality=modality,
        micro_batch=sizes[modality],
        weights=_FLOAT32 * (features + cut // parts) + buffers,
        gradients=_FLOAT32 * trained // parts,
        optimizer=moments // parts,
        averages=_FLOAT32 * trained // parts if recipe.ema_decay is not None else 0,
        exchange=_exchange(model, recipe, trained) if num_ranks > 1 else 0,
        copies=0 if is_cut else kept[modality].fixed,
        activations=sizes[modality] * kept[modality].per_sample,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Bytes that a forward pass keeps for the backward pass."""

    fixed: int
    per_sample: int

    def of(self, size: int) -> int:
        return self.fixed + self.per_sample * size


def _all_kept(
    recipe: Recipe, model: Vita, modalities: Sequence[Modality], windows: WindowSpec | None
) -> dict[Modality, _Kept]:
    """Run a forward pass per modality; two sizes if autocast adds copies of weights, independent of the batch."""
    sizes = _SIZES if recipe.precision is Precision.BF16 else _SIZES[:1]
    tapes = {m: [_forward(recipe, model, m, windows, size) for size in sizes] for m in modalities}
    totals = {m: [tape.total for tape in row] for m, row in tapes.items()}
    if recipe.recompute:
        recompute_in_backward(blocks_of(model))
        totals = {m: [_forward(recipe, model, m, windows, size).total for size in sizes] for m in modalities}
    return {m: _kept([total + tape.largest for total, tape in zip(totals[m], tapes[m], strict=True)]) for m in tapes}


def batches_that_come(recipe: Recipe) -> list[Modality]:
    """List the modalities that have a batch size and a share of the steps.

    Raises:
        RequestError: no modality has both.
    """
    sizes = recipe.batch_size
    come = [m for m in recipe.modalities if isinstance(sizes, int) or m in sizes]
    if not come:
        raise RequestError(
            f"recipe {recipe.name}: batch_size {sizes} and modality_steps {recipe.modality_steps} leave no batches for "
            f"stage {recipe.stage}, which uses {', '.join(RULES[recipe.stage].modalities)}"
        )
    return come


def _kept(counted: Sequence[int]) -> _Kept:
    """Separate the counted bytes into a fixed part and a part per sample."""
    few = counted[0]
    if len(counted) == 1:
        return _Kept(fixed=0, per_sample=few // _SIZES[0])
    per_sample = (counted[1] - few) // (_SIZES[1] - _SIZES[0])
    return _Kept(fixed=max(few - _SIZES[0] * per_sample, 0), per_sample=per_sample)


class _Tape:
    """Counts what autograd saves in one forward pass: each storage once, without weights."""

    def __init__(self, model: Vita) -> None:
        self._weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self._seen: dict[int, UntypedStorage] = {}
        self._since_block = 0
        self.largest = 0
        """Bytes that the largest call of a block added."""

    @property
    def total(self) -> int:
        return sum(storage.nbytes() for storage in self._seen.values())

    def save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights:
            self._seen[storage._cdata] = storage  # kept alive, so that its address is not reused
        return tensor

    def enter(self, *_: object) -> None:
        self._since_block = self.total

    def leave(self, *_: object) -> None:
        self.largest = max(self.largest, self.total - self._since_block)


def _forward(recipe: Recipe, model: Vita, modality: Modality, windows: WindowSpec | None, size: int) -> _Tape:
    """Run the forward pass of a batch of noise and count what it keeps."""
    tape = _Tape(model)
    handles = [block.register_forward_pre_hook(tape.enter) for block in blocks_of(model)]
    handles += [block.register_forward_hook(tape.leave) for block in blocks_of(model)]
    with torch.autograd.graph.saved_tensors_hooks(tape.save, lambda tensor: tensor):
        fake_terms(recipe, model, modality, size, windows)
    for handle in handles:
        handle.remove()
    return tape


def _optimizer_bytes(recipe: Recipe) -> int:
    """Run an optimizer step on the meta device and count its state."""
    with torch.device("meta"):
        model = Vita(recipe.model, RULES[recipe.stage].builds)
    set_modes(model, recipe.stage)
    optimizer = make_optimizer(model, recipe.optimizer)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(moment.nbytes for moment in moments)


def _exchange(model: Vita, recipe: Recipe, trained: int) -> int:
    """Bytes for communication with other ranks."""
    if recipe.parallel is Parallel.DDP:
        return _FLOAT32 * trained
    blocks = blocks_of(model)
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    if model.backbone is not None:
        inside.add(id(model.backbone.gemma.embed_tokens.weight))
    frozen = {id(parameter) for parameter in model.features.parameters()}
    between = [p for p in model.parameters() if id(p) not in inside | frozen]
    largest = max(_numel(block.parameters()) for block in blocks)
    gathered = _BFLOAT16 if recipe.precision is Precision.BF16 else _FLOAT32
    rest = _FLOAT32 * (_numel(between) + _numel(p for p in between if p.requires_grad))
    return rest + 2 * gathered * largest + _FLOAT32 * largest


def _micro_batch(recipe: Recipe, modality: Modality, num_ranks: int) -> int:
    size = recipe.batch_size
    whole = size if isinstance(size, int) else size[modality.value]
    return max(-(-whole // (num_ranks * recipe.accumulate)), 1)


def _numel(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def as_json(estimate: MemoryEstimate) -> dict[str, object]:
    """Give an estimate as JSON values."""
    return {**asdict(estimate), "total": estimate.total}


def as_text(estimate: MemoryEstimate) -> str:
    """Format an estimate in two lines."""
    ranks = f"{estimate.num_ranks} ranks, {estimate.parallel}" if estimate.num_ranks > 1 else "one rank"
    names = ("weights", "gradients", "optimizer", "averages", "exchange", "copies", "activations")
    parts = ", ".join(f"{name} {_size(value)}" for name in names if (value := getattr(estimate, name)))
    recompute = ", activation checkpointing" if estimate.recompute else ""
    return (
        f"memory per rank ({ranks}, {estimate.precision}{recompute}; {estimate.modality} batches of "
        f"{estimate.micro_batch}): at most {_size(estimate.total)}\n  {parts}"
    )


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
