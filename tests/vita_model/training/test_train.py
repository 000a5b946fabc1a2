import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.vita_model.conftest import small_config
from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from vita_data.errors import RequestError, VitaDataError
from vita_data.loader import Damage, InstructionChoice, LoaderOptions, PlanChange, RemoteOptions
from vita_data.storage.lock import held
from vita_data.types import DrawOrder, Modality, Order, Stage
from vita_model.network.configs import Component
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.evaluation.evaluate import EVALUATION
from vita_model.training.gradients import TrainingError
from vita_model.training.train import train

STATISTICS = {"toy_a": {"q01": [0]}}


def go(recipe, stream, run, *, resume=False, report=lambda line: None, statistics=STATISTICS):
    return train(recipe, stream, run, statistics=statistics, report=report, resume=resume)


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(checkpoint):
    """The components, without the optimizer's state of what a stage trains."""
    return {place: value for place, value in tensors(checkpoint).items() if not place[0].startswith("optimizer-")}


def tensors(checkpoint):
    return {
        (path.name, key): value
        for path in sorted(checkpoint.glob("*.safetensors"))
        for key, value in load_file(path).items()
    }


def timeless(run):
    return [{key: value for key, value in row.items() if key != "samples_per_s"} for row in rows(run)]


@pytest.fixture
def warmed_up(make_recipe, make_stream, tmp_path):
    run = tmp_path / "warmup"
    go(make_recipe(Stage.WARMUP), make_stream(Stage.WARMUP), run)
    return run


@pytest.fixture
def start_of(warmed_up, make_recipe, make_stream, tmp_path):
    """The run that a stage starts from, as text for `init`; None for warmup."""

    def start(stage):
        if stage is Stage.WARMUP:
            return None
        if stage is Stage.COTRAIN:
            return str(warmed_up)
        run = tmp_path / "cotrain"
        go(make_recipe(Stage.COTRAIN, init=str(warmed_up), num_steps=2), make_stream(Stage.COTRAIN), run)
        return str(run)

    return start


@pytest.mark.parametrize("stage", list(Stage))
def test_a_stopped_and_resumed_run_equals_an_unbroken_one_bit_by_bit(
    make_recipe, make_stream, start_of, tmp_path, stage
):
    init = start_of(stage)
    whole = go(make_recipe(stage, init=init), make_stream(stage), tmp_path / "whole")
    broken = tmp_path / "broken"
    go(make_recipe(stage, init=init, num_steps=3), make_stream(stage), broken)
    end = go(make_recipe(stage), make_stream(stage), broken, resume=True)

    expected, actual = tensors(whole.checkpoint), tensors(end.checkpoint)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert timeless(tmp_path / "whole") == timeless(broken)


def test_adapters_learn_beside_a_backbone_that_stays_as_it_was(make_recipe, make_stream, start_of, tmp_path):
    init, stage, config = start_of(Stage.FINETUNE), Stage.FINETUNE, small_config()
    model = replace(config, backbone=replace(config.backbone, lora_rank=2))
    whole = go(make_recipe(stage, init=init, model=model), make_stream(stage), tmp_path / "whole")
    go(make_recipe(stage, init=init, model=model, num_steps=3), make_stream(stage), tmp_path / "broken")
    end = go(make_recipe(stage, model=model), make_stream(stage), tmp_path / "broken", resume=True)
    before, after, again = (weights(path) for path in (latest(tmp_path / "cotrain"), whole.checkpoint, end.checkpoint))
    new = after.keys() - before.keys()

    assert {key.rsplit(".", 1)[1] for _, key in new} == {"lora_down", "lora_up"}
    assert all(bool(after[key].any()) for key in new), "the second matrix begins as zero, and has learned"
    moved = {name for (name, key), value in before.items() if not torch.equal(value, after[name, key])}
    assert moved == {f"{Component.ACTION_DECODER}.safetensors"}
    assert all(torch.equal(value, again[key]) for key, value in after.items())


def test_a_run_that_was_killed_while_it_was_measured_is_measured_when_it_is_resumed(make_recipe, make_stream, tmp_path):
    def train_on(resume):
        statistics, stream = statistics_of("toy_a", "toy_b"), make_stream(Stage.WARMUP)
        go(make_recipe(Stage.WARMUP, eval_batches=2), stream, tmp_path / "run", resume=resume, statistics=statistics)
        return (tmp_path / "run" / EVALUATION).read_bytes()

    measured = train_on(resume=False)
    (tmp_path / "run" / EVALUATION).unlink()
    assert train_on(resume=True) == measured

    (tmp_path / "run" / EVALUATION).write_text('{"step": 6}')
    assert train_on(resume=True) == b'{"step": 6}'


def test_the_hand_over_carries_components_and_freezes_the_codebook(make_recipe, make_stream, start_of, tmp_path):
    init = start_of(Stage.FINETUNE)
    end = go(make_recipe(Stage.FINETUNE, init=init), make_stream(Stage.FINETUNE), tmp_path / "finetune")
    before, after = weights(latest(tmp_path / "cotrain")), weights(end.checkpoint)
    moved = {name for (name, key), value in before.items() if not torch.equal(value, after[name, key])}

    assert moved == {f"{Component.ACTION_DECODER}.safetensors"}


def test_metrics_have_a_row_a_step_with_what_a_report_needs(warmed_up):
    found = rows(warmed_up)

    assert [row["step"] for row in found] == list(range(1, 7))
    assert [row["modality"] for row in found[:2]] == ["video", "action"]
    wanted = {"stage", "loss", "commitment", "grad_norm", "lr", "samples_per_s", "perplexity_video", "overlap"}
    assert all(wanted <= row.keys() for row in found)
    assert found[0]["shares"] == {"toy_a": 0.5, "toy_b": 0.5}


def test_tensorboard_gets_the_same_scalars(warmed_up):
    board = EventAccumulator(str(warmed_up / "tensorboard"))
    board.Reload()
    logged = {event.step: event.value for event in board.Scalars("video/loss")}
    assert logged == pytest.approx({row["step"]: row["loss"] for row in rows(warmed_up) if row["modality"] == "video"})


def test_state_holds_sampler_recipe_and_statistics(warmed_up):
    progress = load_progress(latest(warmed_up))

    assert progress.step == 6
    assert progress.sampler == {"step": 6}
    assert progress.recipe["stage"] == "warmup"
    assert progress.statistics == {"toy_a": {"q01": [0]}}
    assert progress.drawn["video"] == {"toy_a": 6, "toy_b": 6}


def test_a_folder_with_files_is_refused_without_resume(make_recipe, make_stream, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"is not empty.*--resume"):
        go(make_recipe(Stage.WARMUP), make_stream(Stage.WARMUP), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_another_process_trains_is_refused_and_stays_as_it_is(make_recipe, make_stream, warmed_up):
    before, resumed = (warmed_up / "metrics.jsonl").read_bytes(), make_recipe(Stage.WARMUP, num_steps=8)
    with held(warmed_up), pytest.raises(RequestError, match="another process is training in this folder"):
        go(resumed, make_stream(Stage.WARMUP), warmed_up, resume=True)
    assert (warmed_up / "metrics.jsonl").read_bytes() == before
    assert go(resumed, make_stream(Stage.WARMUP), warmed_up, resume=True).step == 8


def test_resume_refuses_a_changed_recipe_naming_the_field(warmed_up, make_recipe, make_stream):
    changed = make_recipe(Stage.WARMUP, seed=5, num_steps=9)
    with pytest.raises(RequestError, match="seed was 0, now 5"):
        go(changed, make_stream(Stage.WARMUP), warmed_up, resume=True)


def test_resume_takes_other_ways_of_reading(warmed_up, make_recipe, make_stream):
    remote = RemoteOptions(prefetch=1, connections=2, cache="/nowhere", cache_bytes=5)
    changed = make_recipe(Stage.WARMUP, loader=LoaderOptions(threads=1, ahead=1, read_timeout_s=5.0, remote=remote))
    assert go(changed, make_stream(Stage.WARMUP), warmed_up, resume=True).step == 6


def test_a_run_goes_on_with_recomputed_blocks_as_without(make_recipe, make_stream, tmp_path):
    go(make_recipe(Stage.WARMUP), make_stream(Stage.WARMUP), tmp_path / "whole")
    go(make_recipe(Stage.WARMUP, num_steps=3), make_stream(Stage.WARMUP), tmp_path / "cut")
    go(make_recipe(Stage.WARMUP, recompute=True), make_stream(Stage.WARMUP), tmp_path / "cut", resume=True)
    whole, cut = (load_file(latest(tmp_path / name) / "action_decoder.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(whole[name], cut[name], atol=1e-5) for name in whole)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"loader": LoaderOptions(damage=Damage.SUBSTITUTE)}, "loader.damage was raise, now substitute"),
        ({"loader": LoaderOptions(instruction=InstructionChoice.ANY)}, "loader.instruction was main, now any"),
        ({"order": DrawOrder(kind=Order.WINDOW)}, "order.kind was global, now window"),
    ],
)
def test_resume_refuses_what_changes_the_samples(warmed_up, make_recipe, make_stream, fields, told):
    with pytest.raises(RequestError, match=told):
        go(make_recipe(Stage.WARMUP, **fields), make_stream(Stage.WARMUP), warmed_up, resume=True)


def test_replaced_windows_are_in_the_log_and_where_there_are_any_on_the_terminal(make_recipe, make_stream, tmp_path):
    said = []
    stream = make_stream(Stage.WARMUP)
    go(make_recipe(Stage.WARMUP, num_steps=1), stream, tmp_path / "whole", report=said.append)
    stream.substituted = {"toy_b": 3, "toy_a": 1}
    go(make_recipe(Stage.WARMUP, num_steps=1), stream, tmp_path / "damaged", report=said.append)
    assert [row["substituted"] for row in rows(tmp_path / "whole") + rows(tmp_path / "damaged")] == [
        {},
        {"toy_a": 1, "toy_b": 3},
    ]
    assert "replaced" not in said[0]
    assert said[-1].endswith("left  damaged windows replaced: toy_a 1, toy_b 3")


def test_resume_refuses_other_statistics_naming_the_source(warmed_up, make_recipe, make_stream):
    def again(plan_change):
        return train(
            make_recipe(Stage.WARMUP), make_stream(Stage.WARMUP), warmed_up, statistics={"toy_a": {"q01": [1]}},
            report=lambda line: None, resume=True, plan_change=plan_change,
        )  # fmt: skip

    with pytest.raises(
        RequestError, match=r"the statistics of toy_a differ from those of the run.*--allow-plan-change"
    ):
        again(PlanChange.REFUSE)
    assert again(PlanChange.ALLOW).step == 6


def test_another_plan_may_change_the_plans_own_fields_when_allowed(warmed_up, make_recipe, make_stream):
    stream, changed = make_stream(Stage.WARMUP), make_recipe(Stage.WARMUP, seed=5)
    end = train(
        changed, stream, warmed_up, statistics={}, report=lambda line: None, resume=True, plan_change=PlanChange.ALLOW
    )
    assert end.step == 6
    assert stream.plan_change is PlanChange.ALLOW


def test_resume_of_a_folder_without_checkpoint_starts_at_the_beginning_and_says_so(make_recipe, make_stream, tmp_path):
    said = []
    recipe = make_recipe(Stage.WARMUP, num_steps=1)
    end = go(recipe, make_stream(Stage.WARMUP), tmp_path, resume=True, report=said.append)
    assert end.step == 1
    assert "no checkpoint" in said[0]


def test_rows_that_a_killed_run_left_behind_its_checkpoint_are_dropped(warmed_up, make_recipe, make_stream):
    with (warmed_up / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 7, "loss": 0}) + '\n{"step": 8, "lo')
    go(make_recipe(Stage.WARMUP, num_steps=8), make_stream(Stage.WARMUP), warmed_up, resume=True)

    found = rows(warmed_up)
    assert [row["step"] for row in found] == list(range(1, 9))
    assert found[6]["loss"] != 0


@pytest.mark.parametrize("stage", [Stage.COTRAIN, Stage.FINETUNE])
def test_a_stage_that_needs_an_earlier_run_says_so(make_recipe, make_stream, tmp_path, stage):
    with pytest.raises(RequestError, match="--set init=RUN"):
        go(make_recipe(stage), make_stream(stage), tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_clips(make_recipe, make_stream, make_batch, tmp_path):
    stream = make_stream(Stage.WARMUP)
    bad = make_batch(Modality.ACTION, seed=7)
    bad.action[1, 2, 9] = torch.inf
    batches = iter([make_batch(Modality.VIDEO), bad])
    stream.__class__ = type("Bad", (stream.__class__,), {"__next__": lambda self: next(batches)})
    with pytest.raises(
        TrainingError, match=r"expected a finite loss, got (nan|inf) in a batch of action clips toy-0007-0, toy"
    ):
        go(make_recipe(Stage.WARMUP, max_bad_steps=0), stream, tmp_path / "run")


def test_a_step_that_bursts_the_weights_leaves_no_checkpoint(make_recipe, make_stream, tmp_path, monkeypatch):
    def burst(optimizer):
        optimizer.param_groups[0]["params"][0].data.fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", burst)
    with pytest.raises(VitaDataError, match="is not finite, so no checkpoint was written"):
        go(make_recipe(Stage.WARMUP, num_steps=1), make_stream(Stage.WARMUP), tmp_path / "run")
    assert latest(tmp_path / "run") is None


def test_sigterm_saves_and_ends_the_run_and_it_can_be_resumed(make_recipe, make_stream, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def terminate_at(line):
        if line.startswith("step 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = make_recipe(Stage.WARMUP, report_every=1)
    end = go(recipe, make_stream(Stage.WARMUP), tmp_path / "run", report=terminate_at)

    assert end.interrupted
    assert latest(tmp_path / "run").name == "step-00000002"
    assert signal.getsignal(signal.SIGTERM) is before
    assert go(recipe, make_stream(Stage.WARMUP), tmp_path / "run", resume=True).step == 6
