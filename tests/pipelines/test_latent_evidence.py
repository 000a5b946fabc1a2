"""The evidence on held-out demonstrations: the set is finite, actions are its motion, and arms get what they say."""

from pathlib import Path

import pytest
import torch

from pipelines.latent_evidence import (
    ARMS,
    FIGURES,
    NUM_STEPS,
    TENTH,
    Experiment,
    difference,
    interval,
    recipe_of,
    table,
)
from pipelines.latent_tasks import FUTURES, NUM_FRAMES, NUM_STARTS, ORDERS, draw_demonstrations, draw_orders
from pipelines.latent_world import SIZE, WorldMix, WorldStream
from vita_data.types import Modality, Stage
from vita_model.network.backbone import SUBTASKS
from vita_model.network.configs import ActionContext
from vita_model.training.subtasks import weak_subtasks

_REACH = 0.25


@pytest.fixture(scope="module")
def shown():
    return draw_demonstrations(20, 1, share_with_actions=TENTH)


def numbers(batch):
    return {int(key.split("-")[2]) for key in batch.key}


def test_a_tenth_of_a_finite_set_has_actions_and_all_of_it_is_video(shown):
    paired = [shown.draw(Modality.PAIRED, 64, seed, futures=FUTURES) for seed in range(3)]
    video = [shown.draw(Modality.VIDEO, 64, seed, futures=FUTURES) for seed in range(3)]
    actions = shown.draw(Modality.ACTION, 64, 0, futures=1)
    assert set.union(*map(numbers, paired)) == numbers(actions) == {0, 1}
    assert set.union(*map(numbers, video)) == set(range(20))
    assert all(batch.action is None and batch.state is None for batch in video)
    assert actions.images is None


def test_the_share_with_actions_changes_no_scene(shown):
    assert torch.equal(shown.frames, draw_demonstrations(20, 1).frames)


def test_held_out_demonstrations_are_others(shown):
    other = draw_demonstrations(20, 2)
    same = (shown.frames[:, None] == other.frames[None]).flatten(2).all(dim=-1)
    assert not same.any()
    batches = list(other.every_window(30, futures=FUTURES))
    keys = {key for batch in batches for key in batch.key}
    assert len(keys) == len(batches) * 30 == 20 * NUM_STARTS


def test_the_chunk_is_the_motion_of_its_second(shown):
    number, start = torch.tensor([0, 7, 19]), torch.tensor([0, 1, 2])
    batch = shown.windows(number, start, futures=FUTURES)
    moved = shown.places[number, start + 1] - shown.places[number, start]
    assert moved.abs().sum() > 0
    torch.testing.assert_close(_REACH * batch.action[:, :, 7:9], moved[:, None].expand(-1, 12, -1))
    torch.testing.assert_close(batch.action[:, 0, 13], 2 * shown.grippers[number, start + 1] - 1)
    assert batch.action_mask.sum(dim=-1).unique().tolist() == [3]


def test_the_hand_is_seen_where_it_is_and_ends_at_the_named_target(shown):
    last = (shown.places[:, -1] * SIZE).long()
    for number, (name, place) in enumerate(zip(shown.instructions, last.tolist(), strict=True)):
        assert (place[0] < SIZE / 2) == (name == "red")
        dark = shown.frames[number, -1].float().mean(dim=-1) < 40
        down, across = dark.nonzero().float().mean(dim=0).tolist()
        assert abs(across - place[0]) < 1.5
        assert abs(down - place[1]) < 1.5
    assert shown.frames.shape[:2] == (20, NUM_FRAMES)


def test_an_order_is_seen_in_the_actions_and_not_in_the_first_frame():
    told = draw_orders(60, 1)
    batch = told.windows(torch.arange(60), torch.zeros(60, dtype=torch.int64), futures=FUTURES)
    labels = weak_subtasks(batch.action, batch.action_mask, num_subtasks=2).indices[:, 0]
    expected = {"lift": "lift", "move": "move", "open": "place"}
    assert [SUBTASKS[label] for label in labels] == [expected[order] for order in batch.instruction]
    moved = told.places[:, 1] - told.places[:, 0]
    torch.testing.assert_close(_REACH * batch.action[:, 0, 7], moved[:, 0])
    torch.testing.assert_close(-_REACH * batch.action[:, 0, 9], moved[:, 1])
    assert (batch.action[:, 0, 13] == -1).all()
    each = [told.places[[order == name for order in told.instructions], 0].mean(dim=0) for name in ORDERS]
    torch.testing.assert_close(each[0], each[1], atol=0.05, rtol=0)
    torch.testing.assert_close(each[0], each[2], atol=0.05, rtol=0)


def test_statistics_hold_the_mean_action(shown):
    mean = shown.statistics()["tasks"]["source"]["tasks"]["action"]["mean"]
    windows = shown.windows(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2] * 2), futures=1)
    assert mean[16] == pytest.approx(float(windows.action[..., 7].mean()))
    assert 2 * mean[22] - 1 == pytest.approx(float(windows.action[..., 13].mean()))


def test_a_stream_of_demonstrations_gives_the_same_batches_after_going_back(shown):
    mix = WorldMix(cycle=(Modality.VIDEO, Modality.PAIRED), sizes={Modality.VIDEO: 4, Modality.PAIRED: 3})
    draw = lambda modality, size, seed: shown.draw(modality, size, seed, futures=FUTURES)  # noqa: E731
    stream = WorldStream(mix, seed=1, draw=draw)
    first, state = next(stream), stream.state_dict()
    second = next(stream)
    stream.load_state_dict(state, plan_change=None)
    assert next(stream).key == second.key
    assert (first.modality, second.modality, len(second.key)) == (Modality.VIDEO, Modality.PAIRED, 3)


def test_recipes_of_arms_say_what_the_arms_say():
    recipes = {name: recipe_of(arm, Stage.COTRAIN, seed=0, num_steps=10, init=None) for name, arm in ARMS.items()}
    assert recipes["all"].model.action_decoder.context is ActionContext.NONE
    assert recipes["all-states"].model.action_decoder.context is ActionContext.STATES
    assert not recipes["tenth-no-warmup"].model.codebook.freeze
    assert recipes["all-untaught"].loss.tokens == 0
    hidden = recipes["orders-hidden-labels"]
    assert (hidden.model.cot.hides_text, hidden.loss.subtasks) == (True, 1.0)
    assert not recipes["all"].model.cot.hides_text


def test_the_table_gives_means_with_intervals_over_seeds():
    assert interval([1.0]) == "1.0000"
    assert interval([1.0, 2.0, 3.0]) == "2.0000 ± 2.4843"
    figures = dict.fromkeys(FIGURES, 0.5)
    text = table([{"arm": "all", "seed": seed, **figures} for seed in range(3)])
    assert "| all | 3 | 0.5000 ± 0.0000 |" in text


def test_arms_are_compared_seed_by_seed():
    errors = {("no", 0): 0.5, ("yes", 0): 0.3, ("no", 1): 0.9, ("yes", 1): 0.7, ("no", 2): 9.0}
    rows = [{"arm": arm, "seed": seed, "actions/mse": error} for (arm, seed), error in errors.items()]
    assert difference(rows, "no", "yes").endswith(": 0.2000 ± 0.0000")
    assert difference(rows, "no", "other") == ""


def test_rows_of_the_papers_tables_take_from_warmup_what_they_say():
    recipe = recipe_of(ARMS["tenth-codebook"], Stage.COTRAIN, seed=0, num_steps=10, init=Path("warmup"))
    assert recipe.init_parts == ("visual_encoder", "codebook")
    assert recipe_of(ARMS["tenth"], Stage.COTRAIN, seed=0, num_steps=10, init=Path("warmup")).init_parts is None
    apart = recipe_of(ARMS["tenth-visual"], Stage.WARMUP, seed=0, num_steps=10, init=None).model
    assert (apart.codebook.shared, apart.cot.text) == (False, False)


def test_figures_that_an_arm_does_not_have_are_left_empty():
    text = table([{"arm": "tenth-no-cot", "seed": 0, "actions/mse": 0.5}])
    assert text.splitlines()[-1] == "| tenth-no-cot | 1 | 0.5000 |" + "  |" * (len(FIGURES) - 1)


@pytest.mark.parametrize(
    "name", [n if n == "tenth-visual" else pytest.param(n, marks=pytest.mark.slow) for n in list(ARMS)[-8:]]
)
def test_arms_of_the_papers_tables_train(tmp_path, name):
    figures = Experiment(work=tmp_path, seed=0, num_steps=24, num_demonstrations=30).figures(name)
    assert figures["actions/mse"] > 0
    assert ("frames/l1" in figures) is (name not in ("tenth-no-cot", "tenth-textual"))


def run(work: Path, name: str, seed: int, *, num_steps: int = NUM_STEPS) -> dict[str, float]:
    return Experiment(work=work, seed=seed, num_steps=num_steps).figures(name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_actions_and_frames_need_the_latents(tmp_path, seed):
    figures = run(tmp_path, "all", seed)
    assert figures["actions/shuffled_mse"] > 2 * figures["actions/mse"]
    assert figures["frames/l1"] < figures["frames/copy_l1"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_samples_subtasks_cost_the_actions_where_they_alone_say_what_is_asked(tmp_path, seed):
    figures = run(tmp_path, "orders-hidden-labels", seed, num_steps=1000)
    assert figures["subtasks/distinct"] >= 3
    assert figures["actions/shuffled_subtasks_mse"] > 2 * figures["actions/mse"]


@pytest.mark.slow
def test_video_without_actions_makes_the_actions_of_a_tenth_better(tmp_path):
    assert run(tmp_path, "tenth", 0)["actions/mse"] < 0.9 * run(tmp_path, "tenth-no-video", 0)["actions/mse"]
