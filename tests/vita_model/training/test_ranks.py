"""Several ranks train as one: the same losses and weights; checkpoints go on with another number of ranks."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.vita_model.conftest import SyntheticStream, small_config
from tests.vita_model.ranks import run_ranks
from tests.vita_model.released import write_paligemma
from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from vita_data.storage.lock import held
from vita_data.types import Stage
from vita_model.distributed import joined_ranks
from vita_model.network.configs import Component, LatentConfig, LatentDecoding, LatentGradient, LossConfig
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training import train as training
from vita_model.training.batches import samples
from vita_model.training.checkpoint.components import load_components
from vita_model.training.checkpoint.run_folder import checkpoint_dirs, latest
from vita_model.training.recipes.recipe import OptimizerConfig, Parallel, Precision, Recipe
from vita_model.training.train import train

STEPS = 20
LOSSES = (
    "loss", "l1", "ssim", "action", "commitment", "usage_match", "features", "cross", "tokens", "chunk_tokens",
    "subtasks", "subtask_entropy",
)  # fmt: skip
TOLERANCE = 1e-5


class SlicedStream(SyntheticStream):
    """A rank's slice of each global batch, as the loader gives it."""

    def __init__(self, stage: Stage, rank: int, world_size: int, *, size: int) -> None:
        super().__init__(stage, size=size)
        self.part = slice(rank * size // world_size, (rank + 1) * size // world_size)

    def __next__(self):
        return samples(super().__next__(), self.part)


def recipe_of(stage: Stage, parallel: Parallel, **fields) -> Recipe:
    return replace(
        Recipe(
            name="ranks", stage=stage, manifest="none", num_steps=STEPS, batch_size=8, model=small_config(),
            optimizer=OptimizerConfig(lr=1e-3, ramp_steps=2), precision=Precision.FP32, num_supervised_frames=2,
            parallel=parallel, save_every=10, eval_batches=0,
        ),
        **fields,
    )  # fmt: skip


def train_here(run: str, recipe: Recipe, *, resume: bool = False, before: Callable[[], None] = lambda: None) -> None:
    with joined_ranks() as ranks:
        before()
        stream, held_out = (SlicedStream(recipe.stage, ranks.rank, ranks.world_size, size=8) for _ in range(2))
        train(
            recipe,
            stream,
            Path(run),
            statistics=statistics_of("toy_a", "toy_b"),
            report=lambda line: None,
            resume=resume,
            ranks=ranks,
            held_out=held_out if recipe.eval_every else None,
        )


def go(run: Path, recipe: Recipe, world_size: int, *, resume: bool = False) -> None:
    if world_size == 1:
        train_here(str(run), recipe, resume=resume)
    else:
        run_ranks(_train, world_size, str(run), recipe, resume)


def _train(run: str, recipe: Recipe, resume: bool) -> None:
    train_here(run, recipe, resume=resume)


def rows(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "samples_per_s"} for row in found]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The components and averages, whose files do not depend on the number of ranks, as the optimizer's do."""
    files = [path for path in sorted(checkpoint.glob("*.safetensors")) if not path.name.startswith("optimizer-")]
    return {f"{path.stem}.{key}": value for path in files for key, value in load_file(path).items()}


def assert_same_run(one: Path, other: Path) -> None:
    for mine, theirs in zip(rows(one), rows(other), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            # A gradient's norm and what is derived from counts of codes move more than the losses do.
            bounds = {"abs": TOLERANCE} if name in LOSSES else {"rel": 1e-3, "abs": 1e-3}
            assert theirs[name] == (pytest.approx(value, **bounds) if isinstance(value, float) else value), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The warmup by one rank, which no layout over ranks concerns."""
    run, threads = tmp_path_factory.mktemp("alone") / "run", torch.get_num_threads()
    torch.set_num_threads(1)  # As the ranks have: sums over threads differ in more than the tolerance after some steps.
    train_here(str(run), recipe_of(Stage.WARMUP, Parallel.DDP))
    torch.set_num_threads(threads)
    return run


@pytest.mark.parametrize("parallel", list(Parallel))
def test_two_ranks_give_the_losses_of_one_in_warmup(parallel: Parallel, alone: Path, tmp_path: Path) -> None:
    # Measuring on the way, by all ranks, changes nothing.
    go(tmp_path / "two", recipe_of(Stage.WARMUP, parallel, eval_every=10, eval_batches=2), 2)

    measured = [json.loads(line) for line in (tmp_path / "two" / "evaluation.jsonl").read_text().splitlines()]
    assert [(row["step"], row["actions/shuffled_mse"] > 0) for row in measured] == [(10, True), (20, True)]
    assert len(rows(alone)) == STEPS
    assert_same_run(alone, tmp_path / "two")
    speeds = [json.loads(line) for line in (tmp_path / "two" / "speed.jsonl").read_text().splitlines()]
    assert all(row["samples_per_s"] * row["step_s"] == pytest.approx(8, rel=1e-3) for row in speeds)
    assert {"communication_s" in row for row in speeds} == {parallel is Parallel.DDP}, "FSDP2 does not measure it"
    assert parallel is Parallel.FSDP or any(row["communication_s"] > 0 for row in speeds)
    one, two = (weights(latest(run)) for run in (alone, tmp_path / "two"))
    assert one.keys() == two.keys()
    # AdamW makes steps of one size out of gradients of any, rounding errors included: single weights may differ.
    mine, theirs = (torch.cat([part[name].float().flatten() for name in one]) for part in (one, two))
    assert (mine - theirs).norm() <= 1e-3 * mine.norm()


@pytest.mark.slow
def test_micro_batches_give_the_same_losses_whether_weights_are_copied_or_cut(tmp_path: Path) -> None:
    for parallel in Parallel:
        go(tmp_path / parallel, recipe_of(Stage.WARMUP, parallel, accumulate=2, num_steps=6, ema_decay=0.9), 2)

    assert len({row["modality"] for row in rows(tmp_path / "fsdp")}) == 2
    assert_same_run(tmp_path / "ddp", tmp_path / "fsdp")
    ddp, fsdp = (load_file(latest(tmp_path / name) / "averages.safetensors") for name in ("ddp", "fsdp"))
    assert all(torch.allclose(ddp[name], fsdp[name], atol=1e-3) for name in ddp)


@pytest.mark.parametrize(
    ("first", "then"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_a_run_goes_on_with_another_number_of_ranks(first: int, then: int, alone: Path, tmp_path: Path) -> None:
    recipe = recipe_of(Stage.WARMUP, Parallel.FSDP if then == 2 else Parallel.DDP)
    if first > 1:
        go(tmp_path / "whole", recipe, first)
    whole_run = tmp_path / "whole" if first > 1 else alone
    go(tmp_path / "cut", replace(recipe, num_steps=10), first)
    go(tmp_path / "cut", recipe, then, resume=True)

    assert_same_run(whole_run, tmp_path / "cut")
    if first == then:
        whole, cut = (weights(latest(run)) for run in (whole_run, tmp_path / "cut"))
        assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert len(checkpoint_dirs(tmp_path / "cut")) == 2


@pytest.mark.slow
def test_a_run_goes_on_laid_out_otherwise(alone: Path, tmp_path: Path) -> None:
    recipe = recipe_of(Stage.WARMUP, Parallel.DDP)
    go(tmp_path / "cut", replace(recipe, num_steps=10), 1)
    go(tmp_path / "cut", replace(recipe, parallel=Parallel.FSDP, recompute=True), 2, resume=True)
    assert_same_run(alone, tmp_path / "cut")


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Path:
    """Released weights of a small PaliGemma, a warmup run with filled codes, and a co-train run behind both."""
    folder, config = tmp_path_factory.mktemp("before"), small_config()
    write_paligemma(folder / "paligemma", config.backbone, shard_size="300KB")
    train_here(str(folder / "warmup"), recipe_of(Stage.WARMUP, Parallel.DDP, num_steps=6))
    train_here(str(folder / "cotrain"), later(Stage.COTRAIN, folder, num_steps=2))
    return folder


def later(stage: Stage, before: Path, parallel: Parallel = Parallel.DDP, **fields) -> Recipe:
    """A stage behind others; co-training starts from released weights."""
    config = small_config()
    config = replace(config, backbone=replace(config.backbone, weights=str(before / "paligemma")))
    init = before / ("warmup" if stage is Stage.COTRAIN else "cotrain")
    return recipe_of(stage, parallel, **{"model": config, "init": str(init), **fields})


@pytest.mark.parametrize(
    ("stage", "parallel", "recompute"),
    [
        (Stage.COTRAIN, Parallel.FSDP, True),
        (Stage.COTRAIN, Parallel.FSDP, False),
        (Stage.COTRAIN, Parallel.DDP, True),
        (Stage.COTRAIN, Parallel.DDP, False),
        (Stage.FINETUNE, Parallel.FSDP, True),
        (Stage.FINETUNE, Parallel.DDP, False),
    ],
)
@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_in_later_stages(
    stage: Stage, parallel: Parallel, recompute: bool, before: Path, tmp_path: Path
) -> None:
    recipe = later(stage, before, parallel, recompute=recompute)
    train_here(str(tmp_path / "one"), replace(recipe, recompute=False))
    go(tmp_path / "two", recipe, 2)

    assert len(rows(tmp_path / "one")) == STEPS
    assert_same_run(tmp_path / "one", tmp_path / "two")
    one, two = (weights(latest(tmp_path / name)) for name in ("one", "two"))
    assert one.keys() == two.keys()
    frozen = [name for name in one if torch.equal(one[name], load_before(before, stage)[name])]
    assert all(torch.equal(one[name], two[name]) for name in frozen)
    assert "backbone.gemma.embed_tokens.weight" in frozen


@pytest.mark.parametrize(
    ("latents", "loss"),
    [
        (LatentConfig(decoding=LatentDecoding.AUTOREGRESSIVE), LossConfig()),
        (LatentConfig(gradient=LatentGradient.GUMBEL), LossConfig()),
        (LatentConfig(), LossConfig(chunk_tokens=1.0, subtasks=1.0, subtask_entropy=0.1)),
    ],
    ids=["one-by-one", "drawn", "taught-by-chunks"],
)
@pytest.mark.parametrize("parallel", list(Parallel))
@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_whatever_tokens_are(
    latents: LatentConfig, loss: LossConfig, parallel: Parallel, before: Path, tmp_path: Path
) -> None:
    recipe = later(Stage.COTRAIN, before, parallel, loss=loss, num_taught_transitions=2)
    recipe = replace(recipe, model=replace(recipe.model, latents=latents))
    train_here(str(tmp_path / "one"), recipe)
    go(tmp_path / "two", recipe, 2)

    terms = {name for row in rows(tmp_path / "one") for name in row}
    assert "tokens" in terms
    assert ("chunk_tokens" in terms) is (loss.chunk_tokens > 0)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("parallel", list(Parallel))
@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_with_adapters(parallel: Parallel, before: Path, tmp_path: Path) -> None:
    recipe = later(Stage.FINETUNE, before, parallel)
    backbone = replace(recipe.model.backbone, lora_rank=2)
    recipe = replace(recipe, model=replace(recipe.model, backbone=backbone))
    train_here(str(tmp_path / "one"), recipe)
    go(tmp_path / "two", recipe, 2)

    assert_same_run(tmp_path / "one", tmp_path / "two")
    one, two = (weights(latest(tmp_path / name)) for name in ("one", "two"))
    adapters = [name for name in one if "lora_up" in name]
    assert all(bool(one[name].any()) for name in adapters)
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in adapters)


def load_before(before: Path, stage: Stage) -> dict[str, torch.Tensor]:
    """Weights that a stage might have left alone."""
    return weights(latest(before / "cotrain")) | (weights(latest(before / "warmup")) if stage is Stage.COTRAIN else {})


def test_a_run_cut_over_ranks_in_bf16_leaves_a_checkpoint_that_one_process_loads(before: Path, tmp_path: Path) -> None:
    recipe = later(Stage.COTRAIN, before, Parallel.FSDP, precision=Precision.BF16, num_steps=4, recompute=True)
    train_here(str(tmp_path / "one"), recipe)
    go(tmp_path / "two", recipe, 2)
    for mine, theirs in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        # Weights gathered in bf16 round biases and queries too.
        for term in {"l1", "ssim", "action", "commitment"} & mine.keys():
            assert theirs[term] == pytest.approx(mine[term], rel=0.01)
        # A target is the nearest code; where two are about as near, rounding decides, and a sample has another target.
        assert theirs["tokens"] == pytest.approx(mine["tokens"], rel=0.1)

    export = latest(tmp_path / "two")
    model = Vita(recipe.model)
    assert load_components(export, model) == set(Component)
    stored = weights(export)
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items() if name in stored)
    assert {value.dtype for value in stored.values()} == {torch.float32, torch.int64}
    batch = next(SyntheticStream(Stage.FINETUNE))
    with torch.no_grad():
        actions = model.eval().reason(batch, Draws(), with_frames=False).actions
    assert actions is not None
    assert bool(torch.isfinite(actions.predicted).all())
    train_here(str(tmp_path / "two"), replace(recipe, num_steps=6), resume=True)


class PoisonedStream(SlicedStream):
    """The second rank's part of the second step, and of no other, is infinite."""

    def __next__(self):
        batch = super().__next__()
        if self.step == 2 and self.part.start > 0:
            batch.action[0, 0, 9] = torch.inf
        return batch


def train_over_a_bad_step(run: str, recipe: Recipe) -> None:
    with joined_ranks() as ranks:
        stream = PoisonedStream(recipe.stage, ranks.rank, ranks.world_size, size=8)
        train(recipe, stream, Path(run), statistics={}, report=lambda line: None, resume=False, ranks=ranks)


@pytest.mark.parametrize("parallel", list(Parallel))
def test_a_bad_step_of_one_rank_is_skipped_by_all(parallel: Parallel, tmp_path: Path) -> None:
    recipe = recipe_of(Stage.WARMUP, parallel, num_steps=4)
    run_ranks(train_over_a_bad_step, 2, str(tmp_path / "run"), recipe)
    (bad,) = [json.loads(line) for line in (tmp_path / "run" / "bad_steps.jsonl").read_text().splitlines()]
    assert (bad["step"], len(bad["keys"])) == (2, 8)
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 3, 4]
    assert all(bool(value.isfinite().all()) for value in weights(latest(tmp_path / "run")).values())


def stop_one_late(run: str) -> int:
    """Send this rank a SIGTERM just after all have agreed that nobody stops, on the second rank only."""
    agree = training.highest

    def agree_then_signal(number: int, device: torch.device) -> int:
        agreed = agree(number, device)
        if os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGTERM)
        return agreed

    training.highest = agree_then_signal
    train_here(run, recipe_of(Stage.WARMUP, Parallel.DDP))
    return len(rows(Path(run)))


def train_after_the_other(run: str) -> None:
    """Let the first rank go as far as it gets alone before the second one begins."""

    def wait() -> None:
        end_s = time.monotonic() + 3
        while os.environ["RANK"] == "1" and time.monotonic() < end_s and not (Path(run) / "metrics.jsonl").exists():
            time.sleep(0.01)

    train_here(run, recipe_of(Stage.WARMUP, Parallel.FSDP, num_steps=1), before=wait)


def test_a_rank_that_comes_late_does_not_take_the_others_files_for_an_older_run(tmp_path: Path) -> None:
    run_ranks(train_after_the_other, 2, str(tmp_path / "run"))
    assert len(rows(tmp_path / "run")) == 1


def test_all_ranks_say_why_the_first_one_refuses(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with held(tmp_path / "run"), pytest.raises(AssertionError) as fault:
        run_ranks(_train, 2, str(tmp_path / "run"), recipe_of(Stage.WARMUP, Parallel.DDP, num_steps=1), True)
    assert str(fault.value).count("RequestError: --out") == 2
    assert str(fault.value).count("another process is training in this folder") == 2


def test_ranks_that_are_signalled_between_steps_stop_after_the_same_one(tmp_path: Path) -> None:
    assert run_ranks(stop_one_late, 2, str(tmp_path / "run"), timeout_s=40.0) == [2, 2]
    assert latest(tmp_path / "run") == tmp_path / "run" / "checkpoints" / "step-00000002"
