"""What the latents carry: figures that tell a used code from an idle one, and what makes codes carry motion."""

from dataclasses import replace

import pytest
import torch

from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from vita_data.types import Modality, Stage
from vita_model.distributed import Ranks
from vita_model.network.configs import ActionContext, LossConfig, PositionStart
from vita_model.network.layers import moved_images, patch_positions
from vita_model.network.losses import feature_error, motion_weight
from vita_model.network.prediction import Draws, ShownLatents
from vita_model.network.vita import Vita
from vita_model.training.batches import micro_batches
from vita_model.training.evaluation.evaluate import evaluate, summary
from vita_model.training.evaluation.latents import KEYS, effective_rank, explained, verdict
from vita_model.training.stages import RULES, draw, set_modes


@pytest.fixture
def motion(config):
    """The config with all that is meant to make codes carry motion."""
    return replace(
        config,
        visual_encoder=replace(config.visual_encoder, positions=PositionStart.SINCOS, moved_views=0.19),
        visual_decoder=replace(
            config.visual_decoder,
            positions=PositionStart.SINCOS,
            predicts_features=True,
            sees_pixels=True,
            residual=True,
        ),
    )


def trained_parts_of(terms, model):
    torch.stack(list(terms.values())).sum().backward()
    return {name.partition(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_one_direction_has_rank_one_and_even_directions_have_as_many():
    line = torch.randn(100, 1) @ torch.randn(1, 8)
    even = torch.cat([torch.eye(4), -torch.eye(4)]).repeat(10, 1)

    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(even) == pytest.approx(4.0)


def test_codes_that_follow_a_value_explain_it_and_random_ones_do_not():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2000, 2, generator=generator)
    follows = (values[:, 0] * 4).round().long().clamp(-8, 7) + 8
    drawn = torch.randint(16, (2000,), generator=generator)

    assert explained(follows, values[:, :1], 16) > 0.95
    assert explained(drawn, values, 16) < 0.02


@pytest.mark.parametrize("seed", [0, 13])  # some windows agree on their codes, or all do
def test_a_warmup_batch_of_pairs_is_measured_through_both_decoders(config, make_batch, seed):
    torch.manual_seed(seed)
    model = Vita(config, RULES[Stage.WARMUP].builds)
    set_modes(model, Stage.WARMUP)
    for seed in range(10):
        for modality in ("video", "action"):
            RULES[Stage.WARMUP].predict(model, make_batch(modality, seed=seed), Draws())
    figures = evaluate(
        model,
        Stage.WARMUP,
        [make_batch(m) for m in ("video", "action", "paired")],
        statistics_of("toy_a", "toy_b"),
        LossConfig(),
    )

    wanted = {name for name in KEYS if name.startswith(("cross/", "codes/"))} - {
        "codes/rank_predicted",
        "codes/used_predicted",
        "codes/motion_r2",
        "codes/token_accuracy",
        "codes/token_accuracy_commonest",
    }
    assert wanted <= figures.keys()
    assert 0 <= figures["codes/agreement"] <= 1
    same = figures["cross/frames_own_l1"] == pytest.approx(figures["cross/frames_l1"], rel=1e-6)  # float32
    assert same == (figures["codes/agreement"] == 1), "one code paints one frame"


def test_each_source_has_its_own_report(model, make_batch, monkeypatch):
    """The latents of toy_b do not matter, because another sample's decode to the same; those of toy_a do."""

    def decoded_again(vita, stage, batch, prediction, shown):
        idle = torch.tensor([source == "toy_b" for source in batch.source])[:, None, None]
        frames, actions = prediction.frames, prediction.actions
        off = torch.where(idle, actions.predicted, 1 - actions.predicted)
        images = torch.where(idle[..., None, None], frames.predicted, 1 - frames.predicted)
        return replace(prediction, frames=replace(frames, predicted=images), actions=replace(actions, predicted=off))

    monkeypatch.setattr("vita_model.training.evaluation.latents.redecoded", decoded_again)
    batch = make_batch("paired", futures=2, size=5)
    figures = evaluate(model, Stage.COTRAIN, [batch, batch], statistics_of("toy_a", "toy_b"), LossConfig())

    mine = torch.tensor([source == "toy_a" for source in batch.source])
    masks = {"frames": batch.future_mask.flatten(1), "actions": batch.action_mask.flatten(1)}
    for kind, error in (("frames", "l1"), ("frames", "loss"), ("actions", "mse")):
        share = float(masks[kind][mine].sum() / masks[kind].sum())
        for other in ("shuffled", "mean_latent"):
            a, b = (figures[f"{kind}/toy_{name}/{other}_{error}"] for name in "ab")
            assert b == pytest.approx(figures[f"{kind}/toy_b/{error}"], rel=1e-5)
            assert a != pytest.approx(figures[f"{kind}/toy_a/{error}"], rel=1e-2)
            assert figures[f"{kind}/{other}_{error}"] == pytest.approx(share * a + (1 - share) * b, rel=1e-5)
        assert [figures[f"{kind}/toy_{name}/windows"] for name in "ab"] == [4, 6]
        assert f"{kind}/toy_a/shuffled_subtasks_{error}" in figures


def test_sources_cost_no_decoding_of_their_own(model, make_batch, monkeypatch):
    decoded = []
    decode = Vita.decode
    monkeypatch.setattr(Vita, "decode", lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs))

    def cost(sources):
        decoded.clear()
        batch = replace(make_batch("paired", futures=2), source=sources)
        evaluate(model, Stage.COTRAIN, [batch], statistics_of(*sources), LossConfig())
        return len(decoded)

    assert cost(["a", "b", "c", "d"]) == cost(["a"] * 4)


def test_the_continuous_phase_is_said_and_has_no_figure_of_codes(config, make_batch):
    config = replace(config, codebook=replace(config.codebook, continuous_updates=5))
    model = Vita(config, RULES[Stage.WARMUP].builds)
    set_modes(model, Stage.WARMUP)
    figures = evaluate(model, Stage.WARMUP, [make_batch("video"), make_batch("paired")], {}, LossConfig())

    assert not {"codes/used", "codes/agreement", "codes/least_norm"} & figures.keys()
    assert any("continuous phase" in line for line in summary(figures))


def test_idle_latents_are_said_in_words_with_where_to_look():
    lines = verdict({"frames/l1": 0.1, "frames/shuffled_l1": 0.101, "codes/rank_video": 1.03})
    assert sum(line.startswith("warning") for line in lines) == 2
    assert "What the latents carry" in lines[-1]
    assert not any("warning" in line for line in verdict({"frames/l1": 0.1, "frames/shuffled_l1": 0.2}))


def test_a_short_run_says_what_it_has_not_learnt_yet_without_a_warning():
    figures = {"frames/l1": 0.1, "frames/shuffled_l1": 0.101, "codes/rank_video": 1.03}
    assert verdict(figures, step=1000) == verdict(figures)
    lines = verdict(figures, step=999)
    assert [line.split(": ")[0] for line in lines[:-1]] == ["usual after 999 steps"] * 2
    assert lines[-1].startswith("a run so short shows that everything works")
    assert "see the run's picture of its latents (previews/*-latents.jpg) and" in lines[-1]
    measured = figures | {"codes/agreement": 0.5, "codes/agreement_chance": 0.1}
    told = [line.split(" ")[0] for line in summary(measured, step=999)]
    assert told[-3:] == ["usual", "usual", "a"], "what a newcomer may worry about stands in one block at the end"
    assert len(told) == 5
    learnt = figures | {"codes/rank_video": 3.0, "frames/shuffled_l1": 0.2}
    assert verdict(learnt, step=9) == verdict(learnt)


def test_shown_latents_are_those_of_others_or_their_mean():
    latents = torch.randn(3, 2, 4)
    assert torch.equal(ShownLatents.OWN.of(latents), latents)
    assert torch.equal(ShownLatents.SHUFFLED.of(latents)[1], latents[0])
    torch.testing.assert_close(ShownLatents.MEAN.of(latents)[2], latents.mean(dim=0))


def test_paired_windows_of_warmup_teach_the_encoder_through_the_action_decoder(config, make_batch):
    model = Vita(config, RULES[Stage.WARMUP].builds)
    set_modes(model, Stage.WARMUP)
    terms = RULES[Stage.WARMUP].loss(
        RULES[Stage.WARMUP].predict(model, make_batch("paired"), Draws()), LossConfig(l1=0.0, ssim=0.0, commitment=0.0)
    )

    assert "action" not in terms
    cross = {name: term for name, term in terms.items() if name == "cross"}
    assert trained_parts_of(cross, model) == {"visual_encoder", "action_decoder"}


def test_a_pair_that_is_not_real_teaches_no_action(config, make_batch):
    model = Vita(config, RULES[Stage.WARMUP].builds)
    set_modes(model, Stage.WARMUP)
    batch = make_batch("paired")
    found = RULES[Stage.WARMUP].predict(model, replace(batch, future_mask=batch.future_mask & False), Draws())
    assert not found.actions.mask.any()


def test_every_option_of_warmup_learns(motion, make_batch):
    model = Vita(motion, RULES[Stage.WARMUP].builds)
    set_modes(model, Stage.WARMUP)
    batch = make_batch("video")
    draws = draw(
        model, batch, num_supervised_frames=None, loss=LossConfig(), generator=torch.Generator(), ranks=Ranks()
    )
    assert draws.view_shift is not None
    terms = RULES[Stage.WARMUP].loss(RULES[Stage.WARMUP].predict(model, batch, draws), LossConfig(motion=4.0))

    assert {"l1", "ssim", "features"} <= terms.keys()
    torch.stack(list(terms.values())).sum().backward()
    for part in (model.visual_decoder.features_out, model.visual_decoder.pixels_in, model.visual_encoder.join):
        assert part.weight.grad.abs().sum() > 0


def test_a_residual_decoder_starts_as_a_copy_of_the_present(motion, make_batch):
    model = Vita(motion, RULES[Stage.WARMUP].builds).eval()
    found = RULES[Stage.WARMUP].predict(model, make_batch("video"), Draws()).frames
    assert (found.predicted[:, 0] - found.start).abs().mean() < 0.1


def test_views_move_whole_pixels_and_repeat_their_edges():
    images = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3)
    moved = moved_images(images, torch.tensor([[0.25, 0.0], [0.0, -0.5]]))

    assert torch.equal(moved[0, 1:], images[0, :-1])
    assert torch.equal(moved[0, 0], images[0, 0])
    assert torch.equal(moved[1, :, :2], images[1, :, 2:])
    assert torch.equal(moved[1, :, 3], images[1, :, 3])


def test_sincos_positions_differ_everywhere_and_have_amplitude_one():
    table = patch_positions(4, 16, PositionStart.SINCOS)
    assert table.abs().max() <= 1
    assert (torch.cdist(table, table) + torch.eye(16)).min() > 0.1
    with pytest.raises(ValueError, match="multiple of 4"):
        patch_positions(4, 18, PositionStart.SINCOS)


def test_features_are_measured_in_units_of_their_change():
    present, true = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    mask = torch.tensor([True, False])
    assert feature_error(present, true, present, mask) == pytest.approx(1.0)
    assert feature_error(true, true, present, mask) == 0.0


def test_motion_weighs_pixels_that_change_and_keeps_the_mean():
    start, true = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    true[:, :, 0, 0] = 1
    weight = motion_weight(start, true, 4.0)
    assert weight.mean() == pytest.approx(1.0)
    assert weight[0, 0, 0, 0] > 10 * weight[0, 0, 3, 3]


def test_without_context_the_actions_hang_on_the_latents_alone(config, make_batch):
    config = replace(config, action_decoder=replace(config.action_decoder, context=ActionContext.NONE))
    model, batch = Vita(config).eval(), make_batch("paired", futures=2)
    found = model.reason(batch, Draws(), with_frames=False)
    reasoning = replace(
        found.reasoning, context=replace(found.reasoning.context, hidden=found.reasoning.context.hidden + 5)
    )
    again = model.decode(batch, reasoning, Draws(), with_frames=False)
    assert torch.equal(found.actions.predicted, again.actions.predicted)


def test_micro_batches_take_their_part_of_every_draw(make_batch):
    batch = make_batch("video")
    draws = Draws(view_shift=torch.randn(4, 2), keep_context=torch.ones(4, dtype=torch.bool))
    parts = [drawn for _, drawn in micro_batches(batch, draws, 2)]
    assert torch.equal(torch.cat([part.view_shift for part in parts]), draws.view_shift)


def test_fine_tuning_hides_the_context_at_times_too(config, make_batch):
    config = replace(config, action_decoder=replace(config.action_decoder, context=ActionContext.STATES))
    model = Vita(config)
    set_modes(model, Stage.FINETUNE)
    batch = make_batch("paired", futures=0)
    hidden = Draws(keep_context=torch.zeros(4, dtype=torch.bool))
    shown = RULES[Stage.FINETUNE].predict(model, batch, Draws()).actions.predicted
    assert not torch.equal(shown, RULES[Stage.FINETUNE].predict(model, batch, hidden).actions.predicted)
    assert Modality.PAIRED in RULES[Stage.WARMUP].modalities
