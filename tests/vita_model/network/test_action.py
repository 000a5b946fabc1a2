from dataclasses import replace

import pytest
import torch
from scipy.fft import dct

from vita_model.network.action import ACTION_NAMES, ActionDecoder, ActionEncoder, dct_matrix
from vita_model.network.configs import ActionContext


@pytest.mark.parametrize("num_steps", [5, 12, 15, 50])
def test_dct_matrix_is_scipys_orthonormal_dct_and_its_transpose_the_inverse(num_steps):
    values = torch.randn(num_steps, 14, generator=torch.Generator().manual_seed(0))
    matrix = dct_matrix(num_steps)

    torch.testing.assert_close(
        matrix @ values, torch.from_numpy(dct(values.numpy(), type=2, norm="ortho", axis=0)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(matrix.T @ matrix @ values, values, atol=1e-5, rtol=0)


def test_encoder_ignores_masked_entries_even_when_they_are_nan(config, make_batch):
    encoder = ActionEncoder(config.action_encoder, latent_width=64)
    batch = make_batch("action")
    spoiled = torch.where(batch.action_mask, batch.action, torch.nan)

    assert torch.equal(encoder(batch.action, batch.action_mask), encoder(spoiled, batch.action_mask))


def test_encoder_refuses_another_horizon(config):
    encoder = ActionEncoder(config.action_encoder, latent_width=64)
    with pytest.raises(ValueError, match=r"expected 12 steps \(the action encoder's horizon\), got 5"):
        encoder(torch.zeros(2, 5, 14), torch.ones(2, 5, 14, dtype=torch.bool))


@pytest.mark.parametrize("num_steps", [5, 12, 15, 48])
def test_decoder_serves_every_horizon_with_the_same_weights(config, num_steps):
    decoder = ActionDecoder(config.action_decoder, latent_width=64, context_width=64)
    assert decoder(torch.randn(2, 12, 64), num_steps=num_steps).actions.shape == (2, num_steps, 14)


def test_decoder_ignores_hidden_context_and_reads_shown_context(config):
    reads_states = replace(config.action_decoder, context=ActionContext.STATES)
    decoder = ActionDecoder(reads_states, latent_width=64, context_width=64)
    latents, context = torch.randn(1, 3, 64), torch.randn(1, 5, 64)
    mask = torch.tensor([[True, False, True, False, False]])
    changed, shown = context.clone(), context.clone()
    changed[~mask] = 9.0
    shown[mask] = 9.0
    plain = decoder(latents, num_steps=4, context=context, context_mask=mask).actions

    assert torch.equal(plain, decoder(latents, num_steps=4, context=changed, context_mask=mask).actions)
    assert not torch.equal(plain, decoder(latents, num_steps=4, context=shown, context_mask=mask).actions)


def test_a_decoder_of_latents_alone_refuses_a_context(config):
    decoder = ActionDecoder(config.action_decoder, latent_width=64, context_width=64)
    with pytest.raises(ValueError, match=r"action_decoder\.context is none"):
        decoder(torch.randn(1, 3, 64), num_steps=4, context=torch.randn(1, 5, 64), context_mask=torch.ones(1, 5))


def test_action_names_cover_both_arms_left_first():
    assert len(ACTION_NAMES) == 14
    assert ACTION_NAMES[0] == "left_dx"
    assert ACTION_NAMES[13] == "right_gripper"


def test_the_states_correct_what_the_latents_alone_give(config):
    corrects = replace(config.action_decoder, context=ActionContext.CORRECTION)
    decoder = ActionDecoder(corrects, latent_width=64, context_width=64)
    latents, context, mask = torch.randn(2, 3, 64), torch.randn(2, 5, 64), torch.ones(2, 5, dtype=torch.bool)
    alone = decoder(latents, num_steps=4)
    both = decoder(latents, num_steps=4, context=context, context_mask=mask)

    assert alone.from_latents is None
    assert torch.equal(alone.actions, both.from_latents)
    assert not torch.equal(both.actions, both.from_latents)
    other = decoder(latents, num_steps=4, context=context + 1, context_mask=mask)
    assert torch.equal(other.from_latents, both.from_latents)
    assert not torch.equal(other.actions, both.actions)
    moved = decoder(latents + 1, num_steps=4, context=context, context_mask=mask)
    correction, same = (found.actions - found.from_latents for found in (both, moved))
    torch.testing.assert_close(correction, same, msg="the correction does not depend on the latents")


def test_a_correction_does_not_teach_the_decoder_of_latents(config):
    corrects = replace(config.action_decoder, context=ActionContext.CORRECTION)
    decoder = ActionDecoder(corrects, latent_width=64, context_width=64)
    mask = torch.ones(2, 5, dtype=torch.bool)
    both = decoder(torch.randn(2, 3, 64), num_steps=4, context=torch.randn(2, 5, 64), context_mask=mask)
    both.actions.sum().backward()

    assert all(parameter.grad is None for parameter in decoder.out.parameters())
    assert all(parameter.grad is not None for parameter in decoder.correction.parameters())
