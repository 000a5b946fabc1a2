"""Latent tokens as a distribution over codes (VITA eq 15)."""

import math
from dataclasses import replace

import pytest
import torch

from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from vita_data.types import Modality, Stage
from vita_model.distributed import Ranks
from vita_model.network.backbone import SUBTASKS
from vita_model.network.configs import (
    Component,
    LatentConfig,
    LatentDecoding,
    LatentGradient,
    LossConfig,
    SegmentLatents,
)
from vita_model.network.prediction import Draws
from vita_model.network.tokens import gumbel_noise, through_softmax, token_logits
from vita_model.network.vita import Vita
from vita_model.training.evaluation.evaluate import evaluate
from vita_model.training.stages import RULES, draw, needed_parts, set_modes
from vita_model.training.subtasks import weak_subtasks


def filled(config):
    torch.manual_seed(0)
    model = Vita(config)
    model.codebook.train()
    encodings = torch.randn(config.codebook.num_codes, 1, config.codebook.width)
    model.codebook(encodings, Modality.VIDEO, torch.ones(len(encodings), dtype=torch.bool))
    return model.eval()


def with_latents(config, **options):
    return replace(config, latents=LatentConfig(**options))


def test_the_likeliest_code_is_the_nearest():
    vectors, codes = torch.randn(3, 2, 8), torch.randn(16, 8)
    logits = token_logits(vectors, codes, 0.5)
    assert torch.equal(logits.argmax(dim=-1), torch.cdist(vectors, codes.expand(3, -1, -1)).argmin(dim=-1))
    distance = torch.cdist(vectors, codes.expand(3, -1, -1)).square() / 8 / 0.5
    shift = logits + distance
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), atol=1e-4, rtol=1e-4)


def test_softmax_gradient_is_that_of_the_expected_code():
    codes, logits = torch.randn(5, 3), torch.randn(1, 1, 5, requires_grad=True)
    chosen, indices = through_softmax(logits, codes)
    torch.testing.assert_close(chosen[0, 0], codes[indices[0, 0]])
    (grad,) = torch.autograd.grad(chosen.sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(dim=-1) @ codes).sum(), logits)
    torch.testing.assert_close(grad, expected)


def test_noise_follows_each_sample_s_seed_and_draws_the_distribution():
    seeds = torch.tensor([3, 4, 3])
    noise = gumbel_noise(seeds, (2, 5), torch.device("cpu"))
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])

    logits = torch.tensor([2.0, 1.0, 0.0])
    many = gumbel_noise(torch.arange(4000), (1, 3), torch.device("cpu"))[:, 0]
    shares = (logits + many).argmax(dim=-1).bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, logits.softmax(dim=0), atol=0.03, rtol=0)


@pytest.mark.parametrize("gradient", list(LatentGradient))
def test_every_gradient_reaches_the_backbone_through_the_codes(config, make_batch, gradient):
    model = filled(with_latents(config, gradient=gradient))
    set_modes(model, Stage.COTRAIN)
    batch = make_batch("paired", futures=2)
    draws = draw(
        model, batch, num_supervised_frames=None, loss=LossConfig(), generator=torch.Generator(), ranks=Ranks()
    )
    assert (draws.token_seeds is not None) == (gradient is LatentGradient.GUMBEL)
    found = RULES[Stage.COTRAIN].predict(model, batch, draws)
    found.actions.predicted.sum().backward()
    assert model.backbone.latent_head.weight.grad.abs().sum() > 0
    (quantized,) = found.quantized
    torch.testing.assert_close(quantized.latents.detach(), model.codebook.codes[quantized.indices], atol=1e-5, rtol=0)


def test_teacher_codes_are_those_of_the_true_transitions(config, make_batch):
    model, batch = filled(config), make_batch("paired", futures=3)
    teacher = model.teacher(batch)
    first, second = model.features(batch.images[:, 0]), model.features(batch.future[:, 0])
    real = batch.future_mask[:, 0]
    expected = model.codebook(model.visual_encoder(first, second), Modality.VIDEO, real).indices

    assert torch.equal(teacher.indices[real, 0], expected[real, 0])
    assert torch.equal(teacher.mask[:, 1], batch.future_mask[:, 0] & batch.future_mask[:, 1])
    assert not teacher.mask[:, 3:].any()


def test_only_the_chosen_transitions_are_encoded_and_taught(config, make_batch):
    model, batch = filled(config), make_batch("paired", futures=3)
    everything, some = model.teacher(batch), model.teacher(batch, (0, 2))
    assert torch.equal(some.mask[:, [0, 2]], everything.mask[:, [0, 2]])
    assert torch.equal(some.indices[some.mask], everything.indices[some.mask])
    assert not some.mask[:, 1].any()
    seen = []
    model.features.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    model.teacher(batch, (1,))
    assert seen == [2 * len(batch.key)]


@pytest.mark.parametrize("decoding", list(LatentDecoding))
def test_taught_transitions_are_drawn_anew_unless_tokens_come_one_by_one(config, make_batch, decoding):
    model, generator = filled(with_latents(config, decoding=decoding)), torch.Generator().manual_seed(0)
    set_modes(model, Stage.COTRAIN)
    options = {"loss": LossConfig(), "generator": generator, "ranks": Ranks(), "num_supervised_frames": 1}
    found = {
        draw(model, make_batch("paired", futures=3), num_taught_transitions=2, **options).taught for _ in range(30)
    }
    parallel = decoding is LatentDecoding.PARALLEL
    assert found == ({(0, 1), (0, 2), (1, 2)} if parallel else {None})


def with_own_segments(config, num_segments):
    decoder = replace(config.action_decoder, num_segments=num_segments, segment_latents=SegmentLatents.OWN)
    encoder = replace(config.action_encoder, horizon=config.action_encoder.horizon // num_segments)
    return replace(config, action_decoder=decoder, action_encoder=encoder)


def test_token_accuracy_is_the_share_of_real_tokens_that_take_the_true_code(config, make_batch):
    model, batches = filled(config), [make_batch("paired", futures=3, seed=seed) for seed in (0, 1)]
    figures = evaluate(model, Stage.COTRAIN, batches, statistics_of("toy_a", "toy_b"), LossConfig())
    taken, true = [], []
    for batch in batches:
        teacher = model.teacher(batch)
        indices = RULES[Stage.COTRAIN].predict(model.eval(), batch, Draws()).quantized[0].indices
        taken += indices[teacher.mask].tolist()
        true += teacher.indices[teacher.mask].tolist()
    right = sum(one == other for one, other in zip(taken, true, strict=True))
    assert figures["codes/token_accuracy"] == pytest.approx(right / len(true))
    assert figures["codes/token_accuracy_commonest"] == pytest.approx(max(map(true.count, true)) / len(true))
    assert "codes/token_accuracy" not in evaluate(
        model, Stage.COTRAIN, batches, statistics_of("toy_a", "toy_b"), LossConfig(tokens=0.0)
    )


@pytest.mark.parametrize("num_segments", [1, 2, 4])
def test_chunk_teacher_gives_each_segment_the_code_of_its_own_steps(config, make_batch, num_segments):
    model, batch = filled(with_own_segments(config, num_segments)), make_batch("paired", futures=2)
    length = batch.action.shape[1] // num_segments
    mask = batch.action_mask.clone()
    mask[0, -length:] = False
    batch = replace(batch, action_mask=mask)
    teacher = model.chunk_teacher(batch)
    apart = config.backbone.num_latents // num_segments
    for segment in range(num_segments):
        steps = slice(segment * length, (segment + 1) * length)
        expected = model.encode_chunk(batch.action[:, steps], mask[:, steps]).indices
        assert torch.equal(teacher.indices[:, segment * apart], expected[:, 0])
        assert torch.equal(teacher.mask[:, segment * apart], mask[:, steps].flatten(1).any(dim=1))
    assert teacher.mask.sum() == mask.unflatten(1, (num_segments, length)).flatten(2).any(dim=2).sum()
    with pytest.raises(ValueError, match=r"steps \(the action encoder's horizon\)"):
        model.chunk_teacher(replace(batch, action=batch.action[:, :-num_segments], action_mask=mask[:, :-num_segments]))


@pytest.mark.parametrize("term", ["tokens", "chunk_tokens"])
def test_token_cross_entropy_falls_when_a_batch_is_learnt_by_heart(config, make_batch, term):
    model, batch = filled(config), make_batch("paired", futures=2)
    set_modes(model, Stage.COTRAIN)
    loss = LossConfig(**{"tokens": 0.0, term: 1.0})
    draws = draw(model, batch, num_supervised_frames=None, loss=loss, generator=torch.Generator(), ranks=Ranks())
    optimizer = torch.optim.AdamW([p for p in model.backbone.parameters() if p.requires_grad], lr=3e-3)
    errors = []
    for _ in range(12):
        terms = RULES[Stage.COTRAIN].loss(RULES[Stage.COTRAIN].predict(model, batch, draws), loss)
        optimizer.zero_grad()
        terms[term].backward()
        optimizer.step()
        errors.append(float(terms[term].detach()))
    assert errors[-1] < 0.8 * errors[0]


def test_a_chunk_teacher_needs_the_action_encoder_and_settled_codes(config):
    taught = LossConfig(chunk_tokens=1.0)
    assert Component.ACTION_ENCODER in needed_parts(Stage.COTRAIN, config, taught)
    assert Component.ACTION_ENCODER not in needed_parts(Stage.COTRAIN, config, LossConfig())
    learns = replace(config, codebook=replace(config.codebook, freeze=False))
    assert Component.ACTION_ENCODER not in needed_parts(Stage.COTRAIN, learns, taught)


def test_autoregressive_decoding_gives_the_latents_of_the_teacher_forced_pass(config, make_batch):
    model = filled(with_latents(config, decoding=LatentDecoding.AUTOREGRESSIVE))
    batch = make_batch("paired", futures=2)
    with torch.no_grad():
        free = model.reason(batch, Draws(), with_frames=False)
        codes = model.codebook.codes[free.quantized[0].indices]
        reasoning = free.reasoning
        from vita_model.network.backbone import TokensBefore

        forced = model.backbone.with_subtasks(reasoning, reasoning.subtasks, TokensBefore(codes=codes))

    torch.testing.assert_close(forced.latents, reasoning.latents, atol=1e-4, rtol=1e-4)


def test_autoregressive_latents_see_the_codes_before_them_and_none_after(config, make_batch):
    model = filled(with_latents(config, decoding=LatentDecoding.AUTOREGRESSIVE))
    batch = make_batch("paired", futures=2)
    from vita_model.network.backbone import TokensBefore

    with torch.no_grad():
        reasoning = model.reason(batch, Draws(), with_frames=False).reasoning
        num = reasoning.latents.shape[1]
        codes = torch.randn(4, num, config.codebook.width)
        other = codes.clone()
        other[:, 2] += 3
        first, second = (
            model.backbone.with_subtasks(reasoning, reasoning.subtasks, TokensBefore(codes=each)).latents
            for each in (codes, other)
        )
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert (first[:, 3:] - second[:, 3:]).abs().max() > 1e-4


def test_weak_subtasks_are_told_by_gripper_events_and_phases():
    actions = torch.zeros(1, 8, 14)
    actions[0, :, 13] = 1.0
    actions[0, 0:2, 7] = 0.5
    actions[0, 3:, 13] = -1.0
    actions[0, 4:6, 9] = 0.6
    actions[0, 6:, 11] = 0.8
    mask = torch.zeros_like(actions, dtype=torch.bool)
    mask[..., 7:] = True
    found = weak_subtasks(actions, mask, num_subtasks=8)

    chain = [SUBTASKS[index] for index, real in zip(found.indices[0], found.mask[0], strict=True) if real]
    assert chain == ["move", "grasp", "lift", "rotate", "end_subtask"]
    assert not weak_subtasks(actions, mask & False, num_subtasks=8).mask.any()


def test_a_gripper_that_closes_on_a_still_arm_is_a_grasp_and_an_arm_that_does_nothing_is_at_its_end():
    actions = torch.zeros(2, 8, 14)
    actions[0, :4, 13], actions[0, 4:, 13] = 1.0, -1.0
    mask = torch.zeros_like(actions, dtype=torch.bool)
    mask[..., [7, 8, 13]] = True
    for real in (mask, torch.ones_like(mask)):
        found = weak_subtasks(actions, real, num_subtasks=3)
        assert [SUBTASKS[index] for index in found.indices[:, 0]] == ["grasp", "end_subtask"]
        assert found.mask.tolist() == [[True, True, False], [True, False, False]]


def test_the_entropy_term_asks_for_choices_that_differ_not_for_undecided_ones(config, make_batch):
    model = filled(config)
    found = RULES[Stage.COTRAIN].predict(model, make_batch("paired", size=8, futures=2), Draws())

    def term(probabilities):
        subtasks = replace(found.reasoning.subtasks, probabilities=probabilities)
        given = replace(found, reasoning=replace(found.reasoning, subtasks=subtasks))
        return float(RULES[Stage.COTRAIN].loss(given, LossConfig(subtask_entropy=1.0))["subtask_entropy"])

    num_queries = found.reasoning.subtasks.indices.shape[1]
    each = torch.eye(8)[:, None].expand(-1, num_queries, -1)
    worst = pytest.approx(math.log(8), abs=1e-5)
    assert term(each) == pytest.approx(0, abs=1e-5)
    assert term(torch.full_like(each, 1 / 8)) == worst
    assert term(each[:1].expand_as(each)) == worst


def test_weak_labels_and_entropy_are_terms_only_where_they_weigh(config, make_batch):
    model, batch = filled(config), make_batch("paired", futures=2)
    set_modes(model, Stage.COTRAIN)
    found = RULES[Stage.COTRAIN].predict(model, batch, Draws())
    plain = RULES[Stage.COTRAIN].loss(found, LossConfig())
    weighed = RULES[Stage.COTRAIN].loss(found, LossConfig(subtasks=0.5, subtask_entropy=0.1))

    assert not {"subtasks", "subtask_entropy"} & plain.keys()
    assert weighed["subtasks"] > 0
    assert weighed["subtask_entropy"] >= 0
    (weighed["subtasks"] + weighed["subtask_entropy"]).backward()
    assert model.backbone.subtask_rows.grad.abs().sum() > 0
