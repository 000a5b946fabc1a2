"""Measuring on the way moves nothing that is trained, looks at the same windows each time, and leaves its figures."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.vita_model.conftest import SyntheticStream, build_batch
from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from tests.vita_model.training.test_train import rows, tensors, timeless
from vita_data.errors import RequestError
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.types import Manifest, MixtureEntry, Modality, Split, Stage
from vita_model.training.checkpoint.components import load_trainer
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import load_progress
from vita_model.training.evaluation.evaluate import EVALUATION, HISTORY
from vita_model.training.evaluation.schedule import Evaluations
from vita_model.training.train import train


class HeldOut(SyntheticStream):
    """Windows that are not trained on; remembers which were asked for."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.keys: list[str] = []

    def __next__(self):
        modality = super().__next__().modality
        batch = build_batch(modality, futures=2, seed=1000 + self.step)
        self.keys.append(batch.key[0])
        return batch


@pytest.fixture
def go(make_recipe, make_stream, tmp_path):
    def run(name, stage=Stage.WARMUP, *, held_out=None, resume=False, report=lambda line: None, **fields):
        recipe = make_recipe(stage, save_every=2, **fields)
        # Said in updates, so that a run with fewer steps is the beginning of one with more; trained without a warmup.
        codebook = replace(recipe.model.codebook, continuous_updates=2, last_replacement=5, freeze=False)
        recipe = replace(recipe, model=replace(recipe.model, codebook=codebook))
        return train(
            recipe, make_stream(stage), tmp_path / name, statistics=statistics_of("toy_a", "toy_b"), report=report,
            resume=resume, held_out=held_out,
        )  # fmt: skip

    return run


def evaluations(run):
    return [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]


@pytest.mark.parametrize("stage", [Stage.WARMUP, Stage.COTRAIN])
def test_measuring_on_the_way_leaves_training_and_its_resumption_bit_equal(go, tmp_path, stage):
    plain = go("plain", stage)
    held_out = HeldOut(stage)
    often = {"eval_every": 2, "eval_batches": 2}
    go("measured", stage, held_out=held_out, num_steps=4, **often)
    measured = go("measured", stage, held_out=HeldOut(stage), resume=True, **often)

    expected, actual = tensors(plain.checkpoint), tensors(measured.checkpoint)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert timeless(tmp_path / "plain") == timeless(tmp_path / "measured")
    for name in ("torch_rng", "draw_rng"):
        assert torch.equal(*(getattr(load_trainer(end.checkpoint), name) for end in (plain, measured))), name
    positions = [load_progress(end.checkpoint).sampler for end in (plain, measured)]
    assert positions == [{"step": 6}, {"step": 6}]
    assert [row["step"] for row in evaluations(tmp_path / "measured")] == [2, 4, 6]
    assert set(held_out.keys) == {"toy-1001-0", "toy-1002-0"}, "each evaluation looks at the same windows"


def test_figures_reach_the_log_tensorboard_and_the_page_files(go, tmp_path):
    said: list[str] = []
    go("run", held_out=HeldOut(Stage.WARMUP), eval_every=4, eval_batches=2, report=said.append)
    found = evaluations(tmp_path / "run")
    newest = json.loads((tmp_path / "run" / EVALUATION).read_text())
    lines = [line for line in said if line.startswith("held-out evaluation at step ")]

    assert [line.split(":")[0] for line in lines] == ["held-out evaluation at step 4"]
    own, other = (found[0][f"frames/{name}"] for name in ("l1", "shuffled_l1"))
    assert f"frames own/shuffled L1 {own:.4f}/{other:.4f} = {own / other:.2f}; actions own/shuffled MSE" in lines[0]
    assert f"rank action {found[0]['codes/rank_action']:.1f}, video" in lines[0]
    verdict = newest.pop("verdict")
    assert newest == found[-1]
    assert verdict
    assert all(line in said for line in verdict)
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    events = board.Scalars("evaluation/frames/shuffled_l1")
    assert {event.step: event.value for event in events} == pytest.approx(
        {row["step"]: row["frames/shuffled_l1"] for row in found}
    )
    own = "frames/toy_a/loss", "frames/toy_a/copy_loss", "actions/toy_b/mse", "actions/toy_b/mean_mse"
    assert all(
        len(board.Scalars(f"evaluation/{name}")) == len(found) == sum(name in row for row in found) for name in own
    )
    assert newest.keys() >= set(own)
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4, 5, 6], "metrics.jsonl has a row a step"


@pytest.mark.parametrize(
    ("fields", "held_out", "message"),
    [
        ({"eval_every": 2, "eval_batches": 2}, None, r"eval_every=2 needs held-out windows.*--set eval_split=val"),
        ({"eval_every": 2}, HeldOut(Stage.WARMUP), r"eval_batches=0 evaluates nothing; --set eval_batches=8"),
    ],
)
def test_measuring_on_what_is_trained_on_or_on_nothing_is_refused(go, tmp_path, fields, held_out, message):
    with pytest.raises(RequestError, match=message):
        go("run", held_out=held_out, **fields)
    assert not (tmp_path / "run").exists()


def test_what_a_sigterm_left_out_is_measured_on_resume(go, tmp_path):
    def terminate_at(line: str) -> None:
        if line.startswith("step 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    fields = {"eval_every": 2, "eval_batches": 1, "report_every": 1}
    assert go("run", held_out=HeldOut(Stage.WARMUP), report=terminate_at, **fields).step == 2
    assert not (tmp_path / "run" / HISTORY).exists()
    go("run", held_out=HeldOut(Stage.WARMUP), resume=True, **fields)
    go("whole", held_out=HeldOut(Stage.WARMUP), **fields)

    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")


def test_a_picture_of_held_out_latents_lies_with_the_other_previews(go, tmp_path):
    held_out = HeldOut(Stage.WARMUP)
    go("run", held_out=held_out, eval_batches=2)
    names = sorted(path.name for path in (tmp_path / "run" / "previews").glob("*-latents.jpg"))

    assert names == [f"step-0000000{step}-latents.jpg" for step in (2, 4, 6)]
    assert held_out.keys == ["toy-1001-0", "toy-1002-0"] * 4, "three pictures and the end"
    assert latest(tmp_path / "run").name == "step-00000006"


def test_the_loader_gives_the_same_windows_again(toy_shards, make_recipe):
    manifest = Manifest(name="one", entries=(MixtureEntry(source="bridge", weight=1.0, split=Split.VAL),), path="one")
    plan = Plan.from_manifest(manifest, shards=toy_shards, stage=Stage.WARMUP, batch_size=2, seed=0)
    recipe = make_recipe(Stage.WARMUP, eval_batches=2, eval_every=1)
    with make_loader(plan, rank=0, world_size=1, options=LoaderOptions(threads=1)) as loader:
        measuring = Evaluations(recipe, SyntheticStream(Stage.WARMUP), loader)
        first, second = ([batch.key for batch in measuring.batches(torch.device("cpu"))] for _ in range(2))
        assert loader.state_dict()["step"] == 0

    assert first == second
    assert len(first) == 2


class RareActions(HeldOut):
    """Its batches are video, but for the twelfth and each tenth after it."""

    def __next__(self):
        self.step += 1
        return build_batch(Modality.ACTION if self.step % 10 == 2 and self.step > 2 else Modality.VIDEO, futures=1)


@pytest.mark.parametrize(
    ("num_batches", "drawn", "missed"), [(1, 8, {Modality.ACTION}), (2, 12, set()), (20, 20, set())]
)
def test_an_evaluation_waits_for_a_rare_modality_and_says_if_it_did_not_come(
    make_recipe, make_stream, num_batches, drawn, missed
):
    recipe, held_out = make_recipe(Stage.WARMUP, eval_batches=num_batches), RareActions(Stage.WARMUP)
    evaluations = Evaluations(recipe, make_stream(Stage.WARMUP), held_out)

    assert len(list(evaluations.batches(torch.device("cpu")))) == drawn
    assert evaluations.missed == missed
    assert held_out.step == 0, "it is rewound"


def test_a_missed_modality_is_said(go):
    said = []
    go("run", held_out=RareActions(Stage.WARMUP), eval_batches=1, report=said.append)

    (told,) = [line for line in said if line.startswith("not evaluated: ")]
    assert told.startswith("not evaluated: action batches")
    assert told.endswith(" (not in the batches drawn; --set eval_batches=N draws more)")


class RareSource(HeldOut):
    """All of its windows are of one source."""

    def __next__(self):
        batch = super().__next__()
        return replace(batch, source=["toy_a"] * len(batch.source))


def test_a_missed_source_is_said(go):
    said = []
    go("run", held_out=RareSource(Stage.WARMUP), eval_batches=2, report=said.append)

    told = [line for line in said if line.startswith("not evaluated: ")]
    assert told == ["not evaluated: toy_b (not in the batches drawn; --set eval_batches=N draws more)"]
