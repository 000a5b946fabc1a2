"""What a resumed run may change in its recipe, and how the run remembers it."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from vita_data.errors import RequestError
from vita_data.types import Stage
from vita_model.training.checkpoint.resume import check_changeable, is_changeable
from vita_model.training.checkpoint.run_folder import checkpoint_dirs, latest
from vita_model.training.checkpoint.state import RecipeChange, load_progress
from vita_model.training.recipes.recipe import OptimizerConfig, Schedule
from vita_model.training.train import train

SLOWER = OptimizerConfig(lr=1e-4, ramp_steps=2, max_grad_norm=0.5, schedule=Schedule.COSINE, schedule_steps=10)
CHANGED = ("optimizer.lr", "optimizer.max_grad_norm", "optimizer.schedule", "optimizer.schedule_steps")


@pytest.fixture
def go(make_recipe, make_stream, tmp_path):
    def run(num_steps, *, changes=(), resume=True, report=lambda line: None, **fields):
        recipe = make_recipe(Stage.WARMUP, num_steps=num_steps, **fields)
        stream = make_stream(Stage.WARMUP)
        return train(recipe, stream, tmp_path, statistics={}, report=report, resume=resume, changes=changes)

    return run


def rates(run):
    return [json.loads(line)["lr"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_rate_clipping_and_schedule_change_when_they_are_named_and_the_run_records_it(go, tmp_path):
    said = []
    go(3, resume=False)
    go(5, optimizer=SLOWER, changes=CHANGED, report=said.append)
    go(6, optimizer=SLOWER, changes=CHANGED)  # the same command again, as a job that was queued again

    assert rates(tmp_path)[:3] == [5e-4, 1e-3, 1e-3]
    assert all(rate < 1e-4 for rate in rates(tmp_path)[3:])
    assert "changed optimizer.lr from 0.001 to 0.0001" in said
    progress = load_progress(latest(tmp_path))
    assert [(one.step, one.field) for one in progress.changes] == [
        (3, "num_steps"),
        *((3, name) for name in CHANGED),
        (5, "num_steps"),
    ]
    assert progress.changes[1] == RecipeChange(step=3, field="optimizer.lr", before=1e-3, after=1e-4)
    assert progress.recipe["optimizer"]["lr"] == 1e-4


def test_a_run_beyond_the_steps_asked_for_is_refused_and_stays(go, tmp_path):
    go(3, resume=False)
    before = load_progress(latest(tmp_path))
    with pytest.raises(RequestError, match=r"already at step 3, beyond the 2 steps asked for; .*--steps N"):
        go(2)
    assert load_progress(latest(tmp_path)) == before
    assert go(3).step == 3


def test_a_changed_decay_reaches_the_optimizer(go, tmp_path):
    decaying = OptimizerConfig(lr=1e-3, ramp_steps=2, weight_decay=50.0)
    go(3, resume=False)
    go(4, optimizer=decaying, changes=["optimizer.weight_decay"])
    before, after = (load_file(path / "action_decoder.safetensors") for path in checkpoint_dirs(tmp_path))
    # The rate is 1e-3: the decay takes 5% off a matrix, and AdamW itself moves a weight by little more than the rate.
    matrix = "latent_in.weight"
    assert (after[matrix] - 0.95 * before[matrix]).abs().max() <= 0.002


def test_a_change_that_is_not_named_is_refused_with_the_way_to_name_it(go):
    go(3, resume=False)
    with pytest.raises(
        RequestError, match=r"optimizer.lr was 0.001, now 0.0001.* or with --change optimizer.lr=0.0001"
    ):
        go(5, optimizer=replace(SLOWER, max_grad_norm=1.0, schedule=Schedule.CONSTANT, schedule_steps=100_000))
    with pytest.raises(RequestError, match=r"seed was 0, now 5; resume with the original recipe$"):
        go(5, seed=5)


@pytest.mark.parametrize("field", ["optimizer.lr", "save_every", "eval_every", "report_every", "loader.remote.cache"])
def test_fields_that_change_no_sample_and_no_weight_of_the_model_are_changeable(field):
    assert is_changeable(field)
    check_changeable(field)


@pytest.mark.parametrize("field", ["seed", "model.codebook.num_codes", "loss.action", "preset", "optimizer_x"])
def test_other_fields_are_refused_and_those_that_may_change_are_listed(field):
    with pytest.raises(
        RequestError, match=rf"--change {field}: a resumed run cannot change .*optimizer\.\*, num_steps"
    ):
        check_changeable(field)
