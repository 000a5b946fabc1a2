"""A recipe's model on fake tensors, which have shapes but no storage, to count memory and FLOP of a step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers.initialization import no_init_weights

from vita_data.types import Batch, Modality, Stage, WindowSpec
from vita_model.network.codebook import Codebook, Quantized
from vita_model.network.configs import LatentDecoding
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.batches import random_batch
from vita_model.training.parallel import blocks_of
from vita_model.training.recipes.presets import with_random_weights
from vita_model.training.recipes.recipe import Precision, Recipe, building
from vita_model.training.recompute import recompute_in_backward
from vita_model.training.stages import RULES, Terms, has_chunk_teacher, has_teacher, set_modes

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@contextmanager
def fake_model(recipe: Recipe) -> Iterator[Vita]:
    """Build a model without storage in its stage's modes; operations inside the context use no storage either.

    The quantizer maps to the nearest code and does not learn, because learning depends on values.

    Raises:
        RequestError: the model cannot be built.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        with building(recipe), no_init_weights():
            model = Vita(with_random_weights(recipe.model), RULES[recipe.stage].builds)
        set_modes(model, recipe.stage)
        nearest = partial(_nearest, model.codebook)
        model.codebook.forward = model.codebook.project = nearest  # type: ignore[method-assign]
        yield model


def fake_terms(recipe: Recipe, model: Vita, modality: Modality, size: int, windows: WindowSpec | None) -> Terms:
    """Run the forward pass of a batch of noise; returns its loss terms."""
    rule, bf16 = RULES[recipe.stage], recipe.precision is Precision.BF16
    batch = random_batch(
        modality, recipe.stage, size, torch.device("cpu"), windows=windows, num_action_dims=recipe.model.num_action_dims
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=not recipe.recompute):
        return rule.loss(rule.predict(model, batch, fake_draws(recipe, batch)), recipe.loss)


def fake_draws(recipe: Recipe, batch: Batch) -> Draws:
    """Choose as many frames and transitions as a training step does."""
    num_futures = 0 if batch.future is None else batch.future.shape[1]
    frames, taught = recipe.num_supervised_frames, recipe.num_taught_transitions
    parallel = recipe.model.latents.decoding is LatentDecoding.PARALLEL
    cotrains = recipe.stage is Stage.COTRAIN
    return Draws(
        frames=None if frames is None or not num_futures else torch.arange(min(frames, num_futures)),
        taught=tuple(range(min(taught, num_futures))) if taught is not None and parallel else None,
        teach=cotrains and has_teacher(recipe.model, recipe.loss),
        teach_chunks=cotrains and has_chunk_teacher(recipe.model, recipe.loss),
    )


def count_flop(recipe: Recipe, modality: Modality, size: int) -> int:
    """Count the FLOP of a step's forward and backward pass, including attention and recomputation."""
    with fake_model(recipe) as model, flop_counter() as counter:
        if recipe.recompute:
            recompute_in_backward(blocks_of(model))
        terms = fake_terms(recipe, model, modality, size, recipe.windows)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """Count FLOP inside the context, including attention on a CPU, which torch does not count."""
    ours = {_ATTENTION: _attention_flop, _ATTENTION_BACKWARD: _attention_backward_flop}
    return FlopCounterMode(display=False, custom_mapping=ours)


_Shape = Sequence[int]


def _attention_flop(query: _Shape, key: _Shape, value: _Shape, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward_flop(grad: _Shape, query: _Shape, key: _Shape, value: _Shape, *_: object, **__: object) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]


def _nearest(codebook: Codebook, encodings: Tensor, modality: Modality, mask: Tensor) -> Quantized:
    with torch.autocast("cpu", enabled=False):
        return codebook.table(modality).nearest(encodings.float(), mask)
