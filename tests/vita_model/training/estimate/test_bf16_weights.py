"""A model whose matrices are held in bf16."""

import torch

from vita_model.network.configs import Component
from vita_model.network.prediction import Draws
from vita_model.training.estimate.bf16_weights import held_in_bf16


def test_a_model_held_in_bf16_computes_in_the_format_of_its_rows(make_batch, config) -> None:
    torch.manual_seed(0)
    model = held_in_bf16(config, tuple(Component)).eval()
    held = {p.dtype for m in model.modules() if isinstance(m, torch.nn.Linear) for p in m.parameters(recurse=False)}
    prediction = model.reason(make_batch("paired", size=1, futures=2), Draws(), with_frames=True)
    assert held == {torch.bfloat16}
    assert prediction.actions.predicted.dtype == torch.float32
    assert bool(torch.isfinite(prediction.actions.predicted).all())
    sum(part.predicted.square().sum() for part in (prediction.actions, prediction.frames)).backward()
    assert model.backbone.gemma.layers[0].mlp.up_proj.weight.grad.dtype == torch.bfloat16
