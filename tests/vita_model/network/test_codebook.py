from dataclasses import replace

import pytest
import torch

from vita_data.types import Modality
from vita_model.network.codebook import Codebook
from vita_model.network.configs import CodebookConfig, CodeUpdate, ModalityNorm

PLAIN = CodebookConfig(
    num_codes=4,
    width=2,
    decay=0.5,
    modality_norm=ModalityNorm.NONE,
    grace_updates=0,
    num_recent=8,
    last_replacement=100,
)
CORNERS = torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])


def learn(codebook, rows, modality=Modality.VIDEO):
    codebook.train()
    return codebook(torch.as_tensor(rows)[:, None], modality, torch.ones(len(rows), dtype=torch.bool))


@pytest.fixture
def filled():
    codebook = Codebook(PLAIN)
    learn(codebook, CORNERS)
    return codebook


def test_first_encodings_become_the_codes_over_several_batches():
    codebook = Codebook(PLAIN)
    learn(codebook, CORNERS[:3])
    assert not codebook.is_filled
    learn(codebook, CORNERS[[3, 0, 1]], Modality.ACTION)

    assert codebook.is_filled
    assert int(codebook.num_filled) == 4


def test_codes_that_have_no_value_yet_are_never_chosen():
    codebook = Codebook(PLAIN)
    learn(codebook, CORNERS[3:])
    found = codebook.eval().project(torch.zeros(1, 1, 2), Modality.VIDEO, torch.ones(1, dtype=torch.bool))
    assert found.indices.item() == 0


def test_nearest_code_is_chosen_and_the_gradient_passes_straight_through(filled):
    vectors = torch.tensor([[[0.5, 3.0]], [[3.0, 3.5]]], requires_grad=True)
    found = filled.eval().project(vectors, Modality.VIDEO, torch.ones(2, dtype=torch.bool))
    found.latents.sum().backward()

    nearest = torch.cdist(vectors.detach()[:, 0], filled.codes).argmin(dim=1)
    assert torch.equal(found.indices[:, 0], nearest)
    torch.testing.assert_close(found.latents.detach()[:, 0], filled.codes[nearest])
    assert torch.equal(vectors.grad, torch.ones_like(vectors))


def test_moving_averages_follow_the_definition(filled):
    counts, sums = filled.counts.clone(), filled.sums.clone()
    rows = torch.tensor([[0.5, 0.5], [-0.5, 0.25], [3.5, 4.5]])
    nearest = torch.cdist(rows, filled.codes).argmin(dim=1)
    hits = torch.nn.functional.one_hot(nearest, 4).float()
    counts, sums = 0.5 * counts + 0.5 * hits.sum(0), 0.5 * sums + 0.5 * hits.T @ rows

    learn(filled, rows)

    torch.testing.assert_close(filled.counts, counts)
    torch.testing.assert_close(filled.codes, sums / counts[:, None])


def test_a_dead_code_takes_a_recent_encoding_and_stays_there(filled):
    corner = torch.tensor([[4.0, 4.0], [4.2, 4.0]])
    num_updates_alive = 6  # a count that halves each time: 0.5 ** 7 is the first below 0.01
    for _ in range(num_updates_alive):
        learn(filled, corner)
    before = filled.codes.clone()
    torch.testing.assert_close(before[:3], CORNERS[:3])
    learn(filled, corner)

    moved = (filled.codes - before).norm(dim=1) > 2
    assert moved.any()
    revived = filled.codes[moved]
    assert torch.cdist(revived, torch.cat([corner, CORNERS])).min(dim=1).values.max() < 1e-6
    assert (filled.counts[moved] == 1).all()

    learn(filled, corner)
    torch.testing.assert_close(filled.codes[moved], revived, atol=0.3, rtol=0)


def test_codes_are_no_longer_replaced_at_the_end_of_warmup(filled):
    filled.config = replace(PLAIN, last_replacement=0)
    for _ in range(30):
        learn(filled, CORNERS[3:] + 0.1)
    assert filled.summary().num_dead == 3


def test_masked_encodings_change_neither_codes_nor_losses():
    config = replace(PLAIN, modality_norm=ModalityNorm.BATCH)
    mask = torch.tensor([True, True, True, False])
    results = []
    for hidden in (0.0, 50.0):
        torch.manual_seed(0)
        codebook = Codebook(config).train()
        for _ in range(3):
            rows = torch.randn(4, 1, 2)
            rows[~mask] = hidden
            found = codebook(rows, Modality.ACTION, mask)
        results.append((codebook.codes, codebook.usage, found.commitment, found.usage_match, found.latents[mask]))

    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_eval_mode_learns_nothing(filled):
    before = {name: value.clone() for name, value in filled.state_dict().items()}
    filled.eval()(torch.randn(5, 1, 2), Modality.ACTION, torch.ones(5, dtype=torch.bool))
    assert all(torch.equal(before[name], value) for name, value in filled.state_dict().items())


def test_summary_counts_perplexity_per_modality_and_their_overlap():
    codebook = Codebook(PLAIN)
    learn(codebook, CORNERS)
    learn(codebook, CORNERS[:2], Modality.ACTION)
    usage = codebook.summary()

    assert usage.perplexity[Modality.VIDEO] == pytest.approx(4)
    assert usage.perplexity[Modality.ACTION] == pytest.approx(2)
    assert usage.overlap == pytest.approx(0.5)


def test_usage_match_is_smaller_when_modalities_use_the_same_codes(filled):
    same = learn(filled, CORNERS, Modality.ACTION).usage_match
    apart = learn(filled, CORNERS[:1].repeat(4, 1), Modality.ACTION).usage_match
    assert same < 0.05 < apart


def test_usage_match_moves_encodings_and_never_codes():
    codebook = Codebook(replace(PLAIN, update=CodeUpdate.GRAD))
    learn(codebook, CORNERS)
    learn(codebook, CORNERS[:2])
    encodings = CORNERS[2:].clone().requires_grad_()
    learn(codebook, encodings, Modality.ACTION).usage_match.backward()

    assert encodings.grad.abs().sum() > 0
    assert codebook.codes.grad is None


def test_codes_that_nobody_takes_keep_their_value_for_thousands_of_updates():
    config = replace(PLAIN, decay=0.99, last_replacement=0, grace_updates=10)
    codebook = Codebook(config)
    learn(codebook, CORNERS + 1)
    before = codebook.codes.clone()
    near_the_last = CORNERS[3:] + 1.01
    for _ in range(3000):
        learn(codebook, near_the_last)

    assert torch.equal(codebook.codes[:3], before[:3])
    small = torch.full((1, 1, 2), 0.1)
    found = codebook.eval().project(small, Modality.VIDEO, torch.ones(1, dtype=torch.bool))
    assert found.latents.norm() > 1


CONTINUOUS = replace(PLAIN, continuous_updates=3, modality_norm=ModalityNorm.BATCH)


def test_encodings_pass_through_until_the_continuous_phase_ends_and_then_fill_the_codes():
    codebook = Codebook(CONTINUOUS)
    for number in range(3):
        assert codebook.is_continuous
        rows = torch.randn(4, 2, requires_grad=True)
        found = learn(codebook, rows, Modality.ACTION if number % 2 else Modality.VIDEO)
        assert found.indices is None
        assert float(found.commitment) == float(found.usage_match) == 0.0
        torch.testing.assert_close(found.latents, found.vectors)

    assert not codebook.is_continuous
    assert int(codebook.num_filled) == 0
    found = learn(codebook, torch.randn(4, 2))
    assert codebook.is_filled
    assert found.indices is not None


def test_a_codebook_that_is_saved_within_its_continuous_phase_goes_on_as_if_it_was_not():
    rows = [torch.randn(4, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    whole, first, second = (Codebook(CONTINUOUS) for _ in range(3))
    for each in rows:
        learn(whole, each)
    for each in rows[:2]:
        learn(first, each)
    second.load_state_dict(first.state_dict())
    for each in rows[2:]:
        learn(second, each)

    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_a_table_of_its_own_leaves_the_continuous_phase_however_rare_its_modality_is():
    codebook = Codebook(replace(CONTINUOUS, shared=False))
    for number in range(6):
        assert codebook.is_continuous is (number < 3)
        learn(codebook, torch.randn(4, 2))
    assert not codebook.is_filled
    found = learn(codebook, torch.randn(4, 2), Modality.ACTION)
    assert codebook.is_filled
    assert found.indices is not None


def test_a_table_of_its_own_learns_before_the_other_is_full():
    codebook = Codebook(replace(PLAIN, shared=False, num_codes=4))
    learn(codebook, torch.randn(4, 2))
    before = codebook.codes.clone()
    learn(codebook, torch.randn(4, 2))
    assert not codebook.is_filled
    assert not torch.equal(codebook.codes, before)


def test_a_batch_without_a_real_encoding_does_not_count_towards_the_continuous_phase():
    codebook = Codebook(CONTINUOUS).train()
    codebook(torch.randn(4, 1, 2), Modality.VIDEO, torch.zeros(4, dtype=torch.bool))
    assert int(codebook.num_updates) == 0
