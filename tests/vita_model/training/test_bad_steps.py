"""A step whose loss or gradient is not finite: skipped without a trace in the model, recorded, limited."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from vita_data.types import Stage
from vita_model.network.configs import CodeUpdate
from vita_model.training import train as training
from vita_model.training.bad_steps import BAD_STEPS
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.gradients import Computed, Fault, TrainingError
from vita_model.training.train import train


@pytest.fixture
def go(make_recipe, make_stream, tmp_path):
    """Train a warmup in which the batches of the steps `bad` have an infinite action; every second step has actions."""

    def run(name, bad=(), *, resume=False, report=lambda line: None, **fields):
        stream = make_stream(Stage.WARMUP)
        good = type(stream).__next__

        def poisoned(self):
            batch = good(self)
            if self.step in bad:
                batch.action[1, 2, 9] = torch.inf
            return batch

        stream.__class__ = type("Poisoned", (type(stream),), {"__next__": poisoned})
        recipe = make_recipe(Stage.WARMUP, ema_decay=0.9, **fields)
        return train(recipe, stream, tmp_path / name, statistics={}, report=report, resume=resume)

    return run


def weights(run):
    files = sorted(latest(run).glob("*.safetensors"))
    assert len(files) > 5
    return {(file.name, key): value for file in files for key, value in load_file(file).items()}


def assert_equal(one, other):
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []


def logged(run, name):
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_a_bad_step_leaves_weights_averages_and_codebook_as_they_were(go, tmp_path):
    said = []
    go("before", num_steps=5)
    end = go("skipped", bad={6}, num_steps=6, report=said.append)

    assert end.step == 6
    assert_equal(tmp_path / "before", tmp_path / "skipped")
    assert [row["step"] for row in logged(tmp_path / "skipped", "metrics.jsonl")] == [1, 2, 3, 4, 5]
    (row,) = logged(tmp_path / "skipped", BAD_STEPS)
    assert (row["step"], row["fault"], row["modality"]) == (6, "loss", "action")
    assert row["keys"] == [f"toy-0005-{sample}" for sample in range(4)]
    assert row["found"] in ("inf", "nan")
    (line,) = [line for line in said if "skipped" in line]
    assert line.startswith("step 6 skipped (1 of at most 20 bad steps): expected a finite loss, got ")
    assert "toy-0005-0, toy-0005-1" in line


def test_the_data_goes_on_and_a_resumed_run_skips_and_counts_the_same_steps(go, tmp_path):
    go("whole", bad={2, 6}, num_steps=8)
    go("cut", bad={2, 6}, num_steps=4)
    go("cut", bad={2, 6}, num_steps=8, resume=True)

    assert_equal(tmp_path / "whole", tmp_path / "cut")
    for name in ("whole", "cut"):
        progress = load_progress(latest(tmp_path / name))
        assert (progress.step, progress.bad_steps, progress.sampler) == (8, 2, {"step": 8})
        assert [row["step"] for row in logged(tmp_path / name, BAD_STEPS)] == [2, 6]


def test_one_bad_step_more_than_allowed_ends_the_run_with_advice_that_works(go, tmp_path):
    with pytest.raises(TrainingError, match=r"step 4: expected a finite loss.*1 bad steps were skipped") as fault:
        go("run", bad={2, 4}, num_steps=6, save_every=3, max_bad_steps=1)
    assert "--resume --change max_bad_steps=4" in str(fault.value)
    assert latest(tmp_path / "run").name == "step-00000003"

    go("run", bad={2, 4}, num_steps=6, max_bad_steps=4, resume=True)
    progress = load_progress(latest(tmp_path / "run"))
    assert (progress.step, progress.bad_steps) == (6, 2)
    assert [row["step"] for row in logged(tmp_path / "run", BAD_STEPS)] == [2, 4]


def test_a_gradient_that_is_not_finite_is_a_bad_step_too(go, tmp_path, monkeypatch):
    compute = training.Gradients.compute
    steps = iter(range(1, 100))

    def overflowing(self, batch):
        computed = compute(self, batch)
        if next(steps) < 4:
            return computed
        return Computed(values={**computed.values, "grad_norm": float("inf")}, fault=self._fault(1.0, float("inf")))

    go("before", num_steps=3)
    monkeypatch.setattr(training.Gradients, "compute", overflowing)
    go("run", num_steps=4)
    assert_equal(tmp_path / "before", tmp_path / "run")
    assert [(row["step"], row["fault"], row["found"]) for row in logged(tmp_path / "run", BAD_STEPS)] == [
        (4, Fault.GRADIENT, "inf")
    ]


def test_codes_that_learn_by_gradient_are_restored_too(go, make_recipe, tmp_path):
    model = make_recipe(Stage.WARMUP).model
    model = replace(model, codebook=replace(model.codebook, update=CodeUpdate.GRAD, continuous_updates=0))
    go("before", num_steps=1, model=model)
    go("skipped", bad={2}, num_steps=2, model=model)  # the second step fills codes, before its loss is known
    assert_equal(tmp_path / "before", tmp_path / "skipped")
