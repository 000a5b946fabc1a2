import pytest
import torch
from transformers import GemmaConfig, GemmaModel

from vita_model.network.gemma import Group, give_caches, group_mask, positions, run_layers

INPUT, TEXT, LATENT, _ = Group


@pytest.fixture
def gemma():
    torch.manual_seed(0)
    config = GemmaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    return GemmaModel(config).double().eval()


def test_the_mask_lets_groups_look_back_and_never_ahead():
    groups = [INPUT, INPUT, TEXT, TEXT, LATENT, LATENT]
    real = torch.tensor([[True, True, True, True, True, True]])
    allowed = group_mask(groups, groups, real, causal=[LATENT])[0, 0].int().tolist()

    assert allowed == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]


def test_latents_see_each_other_when_not_causal_and_padding_is_seen_by_nobody():
    groups = [INPUT, LATENT, LATENT]
    allowed = group_mask(groups, groups, torch.tensor([[False, True, True]]), causal=())[0, 0].int().tolist()
    assert allowed == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_holes_consume_no_position():
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert positions(mask)[:, -1].tolist() == [2, 3]
    assert positions(mask, start=torch.tensor([5, 6]))[:, -1].tolist() == [7, 9]


def test_our_loop_equals_the_librarys_forward(gemma):
    rows = torch.randn(2, 7, 32, dtype=torch.float64)
    causal = torch.ones(7, 7, dtype=torch.bool).tril().expand(2, 1, 7, 7)
    theirs, names = gemma(inputs_embeds=rows).last_hidden_state, list(gemma.state_dict())
    ours, _ = run_layers(give_caches(gemma), rows, torch.arange(7).expand(2, 7), causal)

    torch.testing.assert_close(ours, theirs)
    assert list(gemma.state_dict()) == names  # of checkpoints


def test_two_passes_over_cached_keys_equal_one_masked_pass_in_values_and_gradients(gemma):
    give_caches(gemma)
    groups = [INPUT] * 5 + [TEXT] * 2 + [LATENT] * 3
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, 1:3] = False  # a missing view in the prefix
    rows, place = torch.randn(2, 10, 32, dtype=torch.float64), positions(mask)
    whole, _ = run_layers(gemma, rows, place, group_mask(groups, groups, mask, causal=[LATENT]))

    first = group_mask(groups[:5], groups[:5], mask[:, :5], causal=[LATENT])
    _, cache = run_layers(gemma, rows[:, :5], place[:, :5], first)
    second = group_mask(groups[5:], groups, mask, causal=[LATENT])
    rest, _ = run_layers(gemma, rows[:, 5:], place[:, 5:], second, cache)

    torch.testing.assert_close(rest, whole[:, 5:])
    weights = [p for name, p in gemma.named_parameters() if "embed" not in name]
    one = torch.autograd.grad(whole[:, 5:].square().sum(), weights)
    two = torch.autograd.grad(rest.square().sum(), weights)
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)  # norms compute in float32


def test_text_embeddings_are_scaled_by_the_library_and_inputs_are_not(gemma):
    scaled = gemma.embed_tokens(torch.tensor([5]))
    torch.testing.assert_close(scaled[0], gemma.embed_tokens.weight[5] * 32**0.5)
