"""Activation checkpointing: less is kept, nothing else changes."""

from dataclasses import replace

import pytest
import torch

from vita_data.types import Stage
from vita_model.network.configs import LossConfig
from vita_model.network.prediction import Draws
from vita_model.training.parallel import StageLoss, blocks_of
from vita_model.training.recompute import recompute_in_backward
from vita_model.training.stages import RULES, set_modes

CASES = [(Stage.COTRAIN, "paired"), (Stage.COTRAIN, "video"), (Stage.FINETUNE, "paired"), (Stage.WARMUP, "video")]


def gradients(model, stage, batch, *, bf16=False):
    loss = StageLoss(model, RULES[stage], LossConfig())
    kept = []

    def keep(tensor):
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16, bf16):
        terms, _ = loss(batch, Draws())
    torch.stack(list(terms.values())).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found, sum(kept)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("stage", "modality"), CASES)
def test_gradients_are_the_same_and_less_is_kept(model, make_batch, stage, modality, bf16):
    batch = make_batch(modality, size=2, futures={Stage.WARMUP: 1, Stage.COTRAIN: 3, Stage.FINETUNE: 0}[stage])
    set_modes(model, stage)
    model.codebook.eval()
    plain, all_kept = gradients(model, stage, batch, bf16=bf16)
    names = list(model.state_dict())
    recompute_in_backward(blocks_of(model))
    again, few_kept = gradients(model, stage, batch, bf16=bf16)

    assert plain.keys() == again.keys()
    assert len(plain) > 20
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-6, atol=1e-6)
    assert few_kept < 0.6 * all_kept
    assert list(model.state_dict()) == names


def test_blocks_that_do_not_train_are_left_alone(model):
    set_modes(model, Stage.FINETUNE)
    recompute_in_backward(blocks_of(model))
    changed = {id(block) for block in blocks_of(model) if "forward" in vars(block)}
    assert changed == {id(block) for block in model.action_decoder.blocks}


def test_blocks_of_the_backbone_are_found(model, config):
    num_layers = {
        "vision": config.backbone.vision.num_layers,
        "gemma": config.backbone.language.num_layers,
    }
    for part, count in num_layers.items():
        inside = {id(m) for m in model.backbone.get_submodule(part).modules()}
        assert sum(id(block) in inside for block in blocks_of(model)) == count


def test_a_compiled_block_is_what_runs(model, make_batch):
    calls = []
    for block in blocks_of(model):
        block.compile(backend=lambda graph, inputs: calls.append(1) or graph.forward)
    batch = make_batch("paired", size=1)
    with torch.no_grad():
        model.reason(replace(batch, future=None, future_mask=None), Draws(), with_frames=False)
    assert len(calls) >= 3  # SigLIP's, Gemma's, the action decoder's; equal blocks may share a graph
