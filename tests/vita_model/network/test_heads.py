"""The last layer of both decoders is computed in float32, also in a run in bf16."""

import pytest
import torch

from vita_model.network.layers import linear_in_float32


def is_rounded(values):
    return torch.equal(values.float(), values.bfloat16().float())


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_an_output_layer_is_in_float32_whatever_surrounds_it(weights):
    torch.manual_seed(0)
    linear, rows = torch.nn.Linear(64, 14).to(weights), torch.randn(8, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(rows).dtype == torch.bfloat16
        found = linear_in_float32(linear, rows.bfloat16())
    assert found.dtype == torch.float32
    assert not is_rounded(found)
    assert torch.equal(
        found, torch.nn.functional.linear(rows.bfloat16().float(), linear.weight.float(), linear.bias.float())
    )


def test_actions_of_the_decoder_are_not_rounded(model):
    decoder = model.action_decoder.eval()
    latents = torch.randn(2, 12, decoder.latent_in.in_features)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        actions = decoder(latents, num_steps=12).actions
    assert actions.dtype == torch.float32
    assert not is_rounded(actions)


def test_frames_of_the_decoder_are_not_rounded(model):
    decoder = model.visual_decoder.eval()
    features = torch.randn(2, decoder.patch_position.shape[-2], decoder.feature_in.in_features)
    latents = torch.randn(2, 1, decoder.latent_in[0].in_features)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mask, index = torch.ones(2, 1, dtype=torch.bool), torch.ones(2, dtype=torch.int64)
        found = decoder(features, latents, mask, index)
    assert found.images.dtype == torch.float32
    assert not is_rounded(found.images)
