from dataclasses import replace

import pytest
import torch

from vita_model.network import backbone
from vita_model.network.backbone import SUBTASKS, Backbone
from vita_model.network.gemma import run_layers

END = SUBTASKS.index("end_subtask")


@pytest.fixture
def given(make_batch):
    batch = make_batch("paired", size=2, views=2)
    batch.image_mask[0, 1] = False
    return batch


def reason(backbone, batch):
    with torch.no_grad():
        tokens = backbone.tokens(batch.instruction, batch.images.device)
        return backbone(batch.images, batch.image_mask, tokens, batch.state, batch.state_mask)


def test_a_missing_view_and_masked_state_influence_nothing(model, given):
    plain = reason(model.backbone, given)
    given.images[0, 1] = torch.randint(0, 255, (256, 256, 3), dtype=torch.uint8)
    given.state[~given.state_mask] = torch.nan
    changed = reason(model.backbone, given)

    assert torch.equal(plain.latents, changed.latents)
    assert torch.equal(plain.subtasks.indices, changed.subtasks.indices)
    real = plain.context.mask
    assert torch.equal(plain.context.hidden[real], changed.context.hidden[real])


def test_present_views_state_and_instruction_do_influence(model, given):
    plain = reason(model.backbone, given).latents
    for change in ("images", "state", "instruction"):
        if change == "instruction":
            given.instruction[0] = "open the drawer"
        else:
            getattr(given, change)[0].zero_()
        changed = reason(model.backbone, given).latents
        assert not torch.equal(plain[0], changed[0]), change
        assert torch.equal(plain[1], changed[1])
        plain = changed


def test_a_latent_sees_no_later_latent(model, given):
    plain = reason(model.backbone, given).latents
    with torch.no_grad():
        model.backbone.latent_queries[5] += 1
    changed = reason(model.backbone, given).latents

    torch.testing.assert_close(plain[:, :5], changed[:, :5])
    assert not torch.allclose(plain[:, 5:], changed[:, 5:])


def test_nothing_counts_after_the_first_end_of_subtasks(model):
    # Orthogonal rows, so that an answer that points at a row chooses it.
    basis = torch.linalg.qr(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))[0].T
    with torch.no_grad():
        model.backbone.subtask_rows.copy_(basis * 10)
    wanted = torch.tensor([[1, 3, END, 2, 5, 0, 0, 0]])
    found = model.backbone._choose(basis[wanted] * 10)

    assert found.indices.tolist() == [[1, 3, END, END, END, END, END, END]]
    assert found.mask.tolist() == [[True, True, True, False, False, False, False, False]]
    torch.testing.assert_close(found.embeddings, model.backbone.subtask_rows[found.indices])


def test_the_choice_of_subtasks_passes_gradient_to_the_answers(model):
    answers = torch.randn(1, 8, 64, requires_grad=True)
    model.backbone._choose(answers).embeddings.square().sum().backward()
    assert answers.grad[:, 0].abs().sum() > 0


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused(config):
    with pytest.raises(ValueError, match="smaller than the tokenizer's 259 tokens"):
        Backbone(replace(config.backbone, vocabulary=100), latent_width=64)


def test_what_the_layers_add_up_is_float32_under_autocast_in_both_passes(model, given, monkeypatch):
    seen = []

    def spy(gemma, rows, *others):
        seen.append(rows.dtype)
        return run_layers(gemma, rows, *others)

    monkeypatch.setattr(backbone, "run_layers", spy)
    with torch.autocast("cpu", torch.bfloat16):
        reason(model.backbone, given)
    assert seen == [torch.float32, torch.float32]
