"""Where a step's time goes is written beside the run, and changes nothing in it."""

import json
import time

import pytest
import torch

from vita_data.types import Stage
from vita_model.training.step_clock import StepClock, StepPart
from vita_model.training.train import train

SECONDS = ("data_s", "forward_s", "backward_s", "optimizer_s")


@pytest.fixture
def go(make_recipe, make_stream, tmp_path):
    def run(num_steps, *, resume=False, profile_steps=None):
        stream = make_stream(Stage.WARMUP)
        draw = type(stream).__next__

        def slow(self):
            time.sleep(0.05)
            return draw(self)

        stream.__class__ = type("Slow", (type(stream),), {"__next__": slow})
        return train(
            make_recipe(Stage.WARMUP, num_steps=num_steps), stream, tmp_path, statistics={},
            report=lambda line: None, resume=resume, profile_steps=profile_steps,
        )  # fmt: skip

    return run


def logged(run, name):
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_a_row_a_step_says_how_its_time_is_divided_also_after_a_resumption(go, tmp_path):
    go(2)
    go(3, resume=True)

    found = logged(tmp_path, "speed.jsonl")
    assert [(row["step"], row["modality"]) for row in found] == [(1, "video"), (2, "action"), (3, "video")]
    for row in found:
        assert all(row[name] > 0 for name in SECONDS)
        assert row["data_s"] >= 0.05
        assert sum(row[name] for name in SECONDS) <= row["step_s"]
        assert row["memory_bytes"] > 1 << 20
        assert row["samples_per_s"] * row["step_s"] == pytest.approx(4, rel=1e-3)
        assert not {"mfu", "communication_s", "tokens_per_s"} & row.keys(), "not known on one CPU, in a warmup"
    assert all(name not in row for row in logged(tmp_path, "metrics.jsonl") for name in SECONDS)


def test_a_clock_sums_a_part_over_micro_batches_and_begins_anew_for_each_step():
    clock = StepClock(torch.device("cpu"))
    for _ in range(2):
        with clock.timed(StepPart.FORWARD):
            time.sleep(0.01)
    first = clock.read()
    assert first["forward_s"] >= 0.02
    assert first["data_s"] == 0
    assert set(clock.read().values()) == {0.0}


def test_a_trace_holds_the_steps_that_were_asked_for(go, tmp_path):
    go(6, profile_steps=2)
    events = json.loads((tmp_path / "profile" / "rank-00000.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if str(event.get("name", "")).startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4"}
    assert any("aten::" in str(event.get("name", "")) for event in events)
