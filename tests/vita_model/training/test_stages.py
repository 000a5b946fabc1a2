"""Which parts move in which stage, and that masked values move nothing."""

from dataclasses import replace

import pytest
import torch

from vita_data.types import Modality, Stage
from vita_model.distributed import Ranks
from vita_model.network.configs import ActionContext, Component, LossConfig
from vita_model.network.losses import action_error
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.stages import RULES, draw, set_modes
from vita_model.training.train import Trainer


def snapshot(model):
    return {
        (name, key): value.clone()
        for name in model.components
        for key, value in model.component(name).state_dict().items()
    }


def changed_components(model, before):
    return {
        name for (name, key), value in before.items() if not torch.equal(value, model.component(name).state_dict()[key])
    }


@pytest.fixture
def make_trainer(make_recipe, make_stream, tmp_path, model):
    """A trainer of any stage whose parts, where it has them, are those of a filled model."""

    def make(stage):
        trainer = Trainer(make_recipe(stage), make_stream(stage), tmp_path, statistics={}, report=lambda line: None)
        for name in trainer.model.components:
            trainer.model.component(name).load_state_dict(model.component(name).state_dict())
        return trainer

    return make


class Given:
    """A stream of given batches."""

    def __init__(self, batches):
        self.batches, self.substituted = iter(batches), {}

    def __next__(self):
        return next(self.batches)


class NoLog:
    def row(self, **values):
        pass


@pytest.mark.parametrize(
    ("stage", "modality", "expected"),
    [
        (Stage.WARMUP, Modality.VIDEO, {"codebook", "visual_encoder", "visual_decoder"}),
        (Stage.WARMUP, Modality.ACTION, {"codebook", "action_encoder", "action_decoder"}),
        (Stage.COTRAIN, Modality.VIDEO, {"backbone", "visual_decoder"}),
        (Stage.COTRAIN, Modality.PAIRED, {"backbone", "visual_decoder", "action_decoder"}),
        (Stage.FINETUNE, Modality.PAIRED, {"action_decoder"}),
    ],
)
def test_a_step_moves_exactly_the_parts_that_algorithm_1_updates(make_trainer, make_batch, stage, modality, expected):
    trainer = make_trainer(stage)
    features = {key: value.clone() for key, value in trainer.model.features.state_dict().items()}
    before = snapshot(trainer.model)
    trainer.stream = Given([make_batch(modality, futures=2)])
    trainer._train_step(NoLog())

    assert changed_components(trainer.model, before) == expected
    assert all(torch.equal(features[k], v) for k, v in trainer.model.features.state_dict().items())


def test_the_idle_branch_of_warmup_keeps_weights_and_moments_over_many_steps(make_trainer, make_batch):
    trainer = make_trainer(Stage.WARMUP)
    trainer.stream = Given([make_batch("action", seed=9), *(make_batch("video", seed=k) for k in range(4))])
    trainer._train_step(NoLog())
    decoder = list(trainer.model.action_decoder.parameters())
    weights = [p.detach().clone() for p in decoder]
    moments = [trainer.optimizer.state[p]["exp_avg"].clone() for p in decoder if p in trainer.optimizer.state]
    for _ in range(4):
        trainer._train_step(NoLog())

    assert moments
    assert all(torch.equal(a, b) for a, b in zip(weights, decoder, strict=True))
    kept = [trainer.optimizer.state[p]["exp_avg"] for p in decoder if p in trainer.optimizer.state]
    assert all(torch.equal(a, b) for a, b in zip(moments, kept, strict=True))


def test_cotrain_freezes_the_vocabulary_and_trains_the_rest_of_the_backbone(model):
    set_modes(model, Stage.COTRAIN)
    frozen = {name for name, p in model.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"gemma.embed_tokens.weight"}


def test_every_trained_weight_of_cotrain_gets_a_gradient(model, make_batch):
    set_modes(model, Stage.COTRAIN)
    batch = make_batch("paired", futures=2, views=1)
    prediction = RULES[Stage.COTRAIN].predict(model, batch, Draws())
    torch.stack(list(RULES[Stage.COTRAIN].loss(prediction, LossConfig()).values())).sum().backward()

    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()


def spoiled(batch):
    """The same batch with every masked value replaced by noise."""
    if batch.images is not None:
        batch.images[~batch.image_mask] = 77
        batch.future[~batch.future_mask] = 200
    if batch.action is not None:
        batch.action[~batch.action_mask] = 1e6
    if batch.state is not None:
        batch.state[~batch.state_mask] = 1e6
    return batch


def with_holes(batch):
    """The batch with more things masked: a view, all futures of one sample, steps of a chunk."""
    if batch.images is not None and batch.images.shape[1] > 1:
        batch.image_mask[1, 1] = False
    if batch.future is not None:
        batch.future_mask[2] = False
    if batch.action is not None:
        batch.action_mask[0, 5:] = False
        batch.action_mask[3] = False
    return batch


@pytest.mark.parametrize(
    ("stage", "modality"),
    [
        (Stage.WARMUP, "video"),
        (Stage.WARMUP, "action"),
        (Stage.COTRAIN, "video"),
        (Stage.COTRAIN, "paired"),
        (Stage.FINETUNE, "paired"),
    ],
)
def test_masked_values_change_no_loss_and_no_gradient(model, make_batch, stage, modality):
    filled = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for treat in (lambda batch: batch, spoiled):
        model.load_state_dict(filled)
        model.zero_grad()
        set_modes(model, stage)
        views = 1 if stage is Stage.WARMUP else 2
        batch = treat(with_holes(make_batch(modality, futures=2, views=views, seed=3)))
        prediction = RULES[stage].predict(model, batch, Draws())
        loss = torch.stack(list(RULES[stage].loss(prediction, LossConfig()).values())).sum()
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients, model.codebook.codes.clone()))

    (loss, gradients, codes), (other_loss, other_gradients, other_codes) = results
    assert torch.isfinite(loss)
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == other_gradients.keys()
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in gradients)
    assert torch.equal(codes, other_codes)


def test_paired_loss_is_the_papers_without_ssim_unless_asked(model, make_batch):
    set_modes(model, Stage.COTRAIN)
    prediction = RULES[Stage.COTRAIN].predict(model, make_batch("paired", futures=2), Draws())
    loss = RULES[Stage.COTRAIN].loss

    assert set(loss(prediction, LossConfig())) == {"l1", "action", "commitment"}
    assert set(loss(prediction, LossConfig(paired_ssim=True))) == {"l1", "ssim", "action", "commitment"}
    double = loss(prediction, LossConfig(visual=2.0))["l1"]
    torch.testing.assert_close(double, 2 * loss(prediction, LossConfig())["l1"])


def test_draws_choose_supervised_frames_in_order_and_repeat_with_the_generator(model, make_batch):
    batch = make_batch("video", futures=12)
    first, again = (
        draw(
            model,
            batch,
            num_supervised_frames=4,
            loss=LossConfig(),
            generator=torch.Generator().manual_seed(5),
            ranks=Ranks(),
        )
        for _ in range(2)
    )

    assert torch.equal(first.frames, again.frames)
    assert len(first.frames.unique()) == 4
    assert torch.equal(first.frames, first.frames.sort().values)


def test_frames_that_no_sample_has_are_not_drawn(model, make_batch):
    batch = make_batch("video", futures=12)
    mask = torch.zeros_like(batch.future_mask)
    mask[0, [2, 5]] = True
    generator = torch.Generator().manual_seed(5)

    drawn = draw(
        model,
        replace(batch, future_mask=mask),
        num_supervised_frames=4,
        loss=LossConfig(),
        generator=generator,
        ranks=Ranks(),
    )
    assert drawn.frames.tolist() == [2, 5]
    none = draw(
        model,
        replace(batch, future_mask=mask & False),
        num_supervised_frames=4,
        loss=LossConfig(),
        generator=generator,
        ranks=Ranks(),
    )
    assert none.frames.tolist() == [0]


def test_supervising_some_frames_decodes_the_same_frames_as_all(model, make_batch):
    batch, chosen = make_batch("video", futures=5), torch.tensor([1, 4])
    with torch.no_grad():
        whole = model.reason(batch, Draws(), with_frames=True).frames
        some = model.reason(batch, Draws(frames=chosen), with_frames=True).frames

    torch.testing.assert_close(some.predicted, whole.predicted[:, chosen])
    assert torch.equal(some.true, whole.true[:, chosen])


def test_warmup_builds_no_backbone(config):
    warmup = Vita(config, RULES[Stage.WARMUP].builds)
    assert warmup.backbone is None
    assert Component.BACKBONE not in warmup.components


@pytest.mark.parametrize(
    ("stage", "modality", "term"),
    [
        (Stage.WARMUP, "video", "l1"),
        (Stage.WARMUP, "action", "action"),
        (Stage.COTRAIN, "paired", "l1"),
        (Stage.FINETUNE, "paired", "action"),
    ],
)
def test_each_stage_learns_a_batch_by_heart(make_trainer, make_batch, model, stage, modality, term):
    batch = make_batch(modality, futures=1)
    if stage is Stage.FINETUNE:
        # The codes of a frozen backbone are all that the action decoder sees; an untrained one gives all samples one.
        head = model.backbone.latent_head
        head.weight.data.normal_(std=10.0)
        with torch.no_grad():
            head.bias -= RULES[stage].predict(model, batch, Draws()).reasoning.latents.mean(dim=(0, 1))
    trainer = make_trainer(stage)
    values = [trainer.gradients.compute(batch).values[term]]
    for group in trainer.optimizer.param_groups:
        group["lr"] = 5e-3
    for _ in range(40):
        trainer.optimizer.step()
        values.append(trainer.gradients.compute(batch).values[term])

    assert values[-1] < 0.6 * values[0]


@pytest.mark.parametrize(
    ("stage", "modality"), [(Stage.WARMUP, "video"), (Stage.WARMUP, "action"), (Stage.COTRAIN, "paired")]
)
def test_bfloat16_products_leave_losses_in_float32_and_near_their_value(model, make_batch, stage, modality):
    model.eval()
    values = []
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            prediction = RULES[stage].predict(model, make_batch(modality, futures=2), Draws())
            terms = RULES[stage].loss(prediction, LossConfig(usage_match=0.0))
        assert all(term.dtype == torch.float32 for term in terms.values())
        values.append(float(sum(terms.values())))

    assert values[0] == pytest.approx(values[1], rel=0.1)
    assert values[0] != values[1]


@torch.no_grad()
def test_latents_that_the_states_only_correct_have_an_error_of_their_own(config, make_batch):
    corrected = replace(config, action_decoder=replace(config.action_decoder, context=ActionContext.CORRECTION))
    batch = make_batch(Modality.PAIRED, futures=2)
    for stage, with_frames in ((Stage.COTRAIN, True), (Stage.FINETUNE, False)):
        torch.manual_seed(0)
        model = Vita(corrected)
        set_modes(model, stage)
        terms = RULES[stage].loss(model.reason(batch, Draws(), with_frames=with_frames), LossConfig(action=3.0))
        actions = model.reason(batch, Draws(), with_frames=False).actions
        expected = 3.0 * action_error(actions.from_latents, actions.true, actions.mask)
        assert float(terms["latent_action"]) == pytest.approx(float(expected), rel=1e-5)
        assert float(terms["action"]) != pytest.approx(float(expected), rel=1e-3)
