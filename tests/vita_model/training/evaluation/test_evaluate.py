"""Figures of a run: exact on hand-made predictions, in physical units, and beside what trivial predictors reach."""

import json
from dataclasses import replace

import pytest
import torch

from tests.vita_model.ranks import run_ranks
from vita_data.types import Modality, Stage
from vita_model.distributed import joined_ranks
from vita_model.network.configs import LossConfig
from vita_model.network.prediction import ActionPrediction, FramePrediction
from vita_model.network.vita import Vita
from vita_model.training.evaluation.evaluate import KEYS, SOURCE_KEYS, evaluate, summary, write_evaluation
from vita_model.training.evaluation.latents import KEYS as LATENT_KEYS
from vita_model.training.stages import RULES, StageRule

LEVELS = {"mean": 0.01, "q01": -0.02, "q99": 0.02}


def statistics_of(*sources: str) -> dict:
    """Actions from -0.02 to 0.02, mean 0.01, on the right arm."""
    mask = [16 <= column < 23 for column in range(40)]
    columns = {name: [value if real else None for real in mask] for name, value in LEVELS.items()}
    part = {"mask": mask, **columns}
    return {source: {"source": {source: {"action": part, "state": None}}} for source in sources}


@pytest.fixture
def predicting(monkeypatch: pytest.MonkeyPatch, model: Vita, make_batch):
    """Let a stage predict what a function makes of its true prediction."""

    def use(change) -> None:
        rule = RULES[Stage.WARMUP]

        def predict(vita, batch, draws):
            found = rule.predict(vita, batch, draws)
            return replace(found, **change(found))

        fields = {name: getattr(rule, name) for name in StageRule.__dataclass_fields__}
        monkeypatch.setattr(
            "vita_model.training.evaluation.evaluate.RULES", {Stage.WARMUP: StageRule(**{**fields, "predict": predict})}
        )

    return use


def test_a_perfect_prediction_has_no_error_and_the_copy_has_its_own(predicting, model, make_batch) -> None:
    predicting(lambda found: {"frames": replace(found.frames, predicted=found.frames.true)})
    figures = evaluate(model, Stage.WARMUP, [make_batch("video")], {}, LossConfig())

    assert figures["frames/l1"] == 0.0
    assert figures["frames/ssim"] == pytest.approx(1.0)
    assert figures["frames/loss"] == pytest.approx(0.0, abs=1e-6)
    assert figures["frames/copy_loss"] > 0.001
    assert 0 < figures["codes/used"] <= 1


def test_actions_are_compared_in_metres_and_radians(predicting, model, make_batch) -> None:
    # One more in normalized units is half of the range: 0.02 in each of the three columns.
    predicting(lambda found: {"actions": replace(found.actions, predicted=found.actions.true + 1.0)})
    batch = make_batch("action")
    figures = evaluate(model, Stage.WARMUP, [batch], statistics_of("toy_a", "toy_b"), LossConfig())

    assert figures["actions/mse"] == pytest.approx(1.0)
    for source in ("toy_a", "toy_b"):
        assert figures[f"actions/{source}/position_m"] == pytest.approx(0.02 * 3**0.5, rel=1e-4)
        assert figures[f"actions/{source}/rotation_rad"] == pytest.approx(0.02 * 3**0.5, rel=1e-4)
        assert figures[f"actions/{source}/gripper"] == pytest.approx(0.5, rel=1e-4)
    # The mean, 0.01, is 0.5 in normalized units.
    true = batch.action[batch.action_mask]
    columns = torch.arange(14).expand_as(batch.action)[batch.action_mask]
    mean = torch.where(columns == 13, 2 * 0.01 - 1, 0.5)
    assert figures["actions/mean_mse"] == pytest.approx(float((true - mean).square().mean()), rel=1e-4)


def test_each_source_has_its_own_losses_beside_those_of_trivial_predictors(predicting, model, make_batch) -> None:
    def wrong_for_the_second_source(found) -> dict:
        frames, actions = found.frames, found.actions
        off = torch.tensor([float(one == "toy_b") for one in batch.source])
        if frames is not None:
            return {
                "frames": replace(frames, predicted=frames.true.lerp(1 - frames.true, off[:, None, None, None, None]))
            }
        return {"actions": replace(actions, predicted=actions.true + off[:, None, None])}

    predicting(wrong_for_the_second_source)
    figures = {}
    for batch in (make_batch("video", size=5), make_batch("action", size=5)):
        figures |= evaluate(model, Stage.WARMUP, [batch], statistics_of("toy_a", "toy_b"), LossConfig())

    assert figures["frames/toy_a/l1"] == figures["actions/toy_a/mse"] == 0.0
    assert figures["actions/toy_b/mse"] == pytest.approx(1.0)
    # Two of the five samples are of toy_a, three of toy_b.
    for name in ("frames/loss", "frames/l1", "frames/ssim", "frames/copy_loss", "frames/copy_l1", "actions/mse"):
        own, other = (figures[name.replace("/", f"/{source}/")] for source in ("toy_a", "toy_b"))
        assert own != other, name
        assert figures[name] == pytest.approx((2 * own + 3 * other) / 5, rel=1e-5), name
    masked = make_batch("action", size=5).action_mask.sum(dim=(1, 2))
    weight = float(masked[1::2].sum() / masked.sum())
    own, other = (figures[f"actions/{source}/mean_mse"] for source in ("toy_a", "toy_b"))
    assert figures["actions/mean_mse"] == pytest.approx(weight * own + (1 - weight) * other, rel=1e-5)


@pytest.mark.parametrize("modalities", [("video", "action"), ("video",)])
def test_a_summary_compares_the_frames_of_each_of_several_sources(model, make_batch, modalities) -> None:
    mixed = [make_batch(modality) for modality in modalities]
    figures = evaluate(model, Stage.WARMUP, mixed, statistics_of("toy_a", "toy_b"), LossConfig())
    loss, copied = (figures[f"frames/toy_a/{name}"] for name in ("loss", "copy_loss"))
    assert f"  toy_a: frames' loss {loss:.4f} (copying the present frame {copied:.4f})" in summary(figures)

    single = [replace(batch, source=["toy_a"] * len(batch.source)) for batch in mixed]
    figures = evaluate(model, Stage.WARMUP, single, statistics_of("toy_a"), LossConfig())
    assert figures["frames/toy_a/loss"] == figures["frames/loss"]
    assert not any("toy_a: frames" in line for line in summary(figures)), "its frames have a line already"


@pytest.mark.parametrize("stage", [Stage.WARMUP, Stage.COTRAIN])
def test_all_figures_are_described(model, make_batch, stage) -> None:
    batches = [
        make_batch("paired", futures=2 if stage is Stage.COTRAIN else 1),
        make_batch("video"),
        make_batch("action"),
    ]
    batches = batches[: 1 if stage is Stage.COTRAIN else 3]
    figures = evaluate(model, stage, batches, statistics_of("toy_a", "toy_b"), LossConfig())
    names = {name.replace("/toy_a/", "/SOURCE/").replace("/toy_b/", "/SOURCE/") for name in figures}

    assert names <= KEYS.keys() | SOURCE_KEYS.keys() | LATENT_KEYS.keys()
    crossing = "cross/" if stage is Stage.COTRAIN else "shuffled_subtasks"
    assert {name for name in SOURCE_KEYS if "joint" not in name and crossing not in name} <= names
    assert KEYS.keys() <= names


def test_what_is_masked_counts_nowhere(predicting, model, make_batch) -> None:
    def wrong_where_masked(found) -> dict:
        actions: ActionPrediction = found.actions
        return {"actions": replace(actions, predicted=torch.where(actions.mask, actions.true, 99.0))}

    predicting(wrong_where_masked)
    batch = make_batch("action")
    batch.action_mask[:, 6:] = False
    figures = evaluate(model, Stage.WARMUP, [batch], statistics_of("toy_a", "toy_b"), LossConfig())

    assert figures["actions/mse"] == 0.0
    assert figures["actions/toy_a/position_m"] == pytest.approx(0.0, abs=1e-9)


def test_the_model_stays_as_it_was(model, make_batch) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    evaluate(
        model, Stage.WARMUP, [make_batch("video"), make_batch("action")], statistics_of("toy_a", "toy_b"), LossConfig()
    )

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.codebook.training


def test_figures_are_said_and_written(model, make_batch, tmp_path) -> None:
    batches = [make_batch("video"), make_batch("action")]
    figures = evaluate(model, Stage.WARMUP, batches, statistics_of("toy_a", "toy_b"), LossConfig())
    text = "\n".join(summary(figures))
    found = json.loads(write_evaluation(tmp_path, 7, figures).read_text())

    assert "copying the present frame" in text
    assert "toy_b: " in text
    assert "mm" in text
    assert found["step"] == 7
    assert found["actions/mse"] == figures["actions/mse"]


def test_a_source_whose_rotations_are_all_masked_has_no_line_of_its_own(model, make_batch) -> None:
    batch = make_batch("action")
    batch.action_mask[..., 10:13] = False
    figures = evaluate(model, Stage.WARMUP, [batch], statistics_of("toy_a", "toy_b"), LossConfig())
    assert "toy_a" not in "\n".join(summary(figures))
    assert "actions/toy_a/position_m" in figures


def figures_of_a_rank() -> tuple[dict[str, float], dict[str, float]]:
    """Give a warmup's and a co-training's figures."""
    from tests.vita_model.conftest import build_batch, small_config
    from vita_model.training.batches import samples

    with joined_ranks() as ranks:
        torch.manual_seed(0)
        model = Vita(small_config())
        model.codebook.train()
        rows = torch.randn(8, 1, 64, generator=torch.Generator().manual_seed(1))
        model.codebook(rows, Modality.VIDEO, torch.ones(8, dtype=torch.bool))
        part = slice(ranks.rank * 4 // ranks.world_size, (ranks.rank + 1) * 4 // ranks.world_size)
        kinds = {Stage.WARMUP: ("video", "action", "paired"), Stage.COTRAIN: ("video", "paired")}
        model.codebook.eval()
        with torch.no_grad():
            # Different latents, whose order must then matter.
            model.codebook.codes.mul_(3)
        return tuple(
            evaluate(model, stage, [samples(build_batch(kind, seed=3), part) for kind in kinds[stage]],
                     statistics_of("toy_a", "toy_b"), LossConfig())
            for stage in kinds
        )  # fmt: skip


def test_two_ranks_say_what_one_says() -> None:
    alone = figures_of_a_rank()
    first, second = run_ranks(figures_of_a_rank, 2)

    assert first == second
    for mine, whole in zip(first, alone, strict=True):
        # The entropy of small variances amplifies the last bits of the encodings.
        for name in ("codes/rank_video", "codes/rank_predicted"):
            assert mine.pop(name, 0.0) == pytest.approx(whole.pop(name, 0.0), rel=1e-3)
        assert mine == pytest.approx(whole, rel=1e-4, abs=1e-6)
    assert abs(alone[1]["actions/shuffled_mse"] / alone[1]["actions/mse"] - 1) > 1e-3, "the order of latents matters"


def test_frames_have_a_mask(predicting, model, make_batch) -> None:
    def wrong_where_masked(found) -> dict:
        frames: FramePrediction = found.frames
        real = frames.mask[:, :, None, None, None]
        return {"frames": replace(frames, predicted=torch.where(real, frames.true, 0.5))}

    predicting(wrong_where_masked)
    batch = make_batch("video")
    batch.future_mask[1] = False

    assert evaluate(model, Stage.WARMUP, [batch], {}, LossConfig())["frames/l1"] == 0.0


def test_decoders_that_read_the_latents_do_worse_on_those_of_another_sample(model, make_batch) -> None:
    batch = make_batch("paired", futures=2)
    with torch.no_grad():
        model.codebook.codes.mul_(3)
    figures = evaluate(model, Stage.COTRAIN, [batch], statistics_of("toy_a", "toy_b"), LossConfig())
    assert figures["actions/shuffled_mse"] != figures["actions/mse"]
    with torch.no_grad():
        for layer in (model.action_decoder.latent_in, model.visual_decoder.latent_in[-1]):
            layer.weight.zero_()
    blind = evaluate(model, Stage.COTRAIN, [batch], statistics_of("toy_a", "toy_b"), LossConfig())
    assert blind["actions/shuffled_mse"] == pytest.approx(blind["actions/mse"], abs=1e-6)
    assert blind["frames/shuffled_loss"] == pytest.approx(blind["frames/loss"], abs=1e-6)
    assert any("with another sample's latents" in line for line in summary(blind))
