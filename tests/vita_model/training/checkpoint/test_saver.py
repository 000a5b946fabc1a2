"""Checkpoints that are written while training goes on: kills, damage, memory, ranks."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.vita_model.ranks import run_ranks
from tests.vita_model.training.test_ranks import SlicedStream, recipe_of
from vita_data.errors import VitaDataError
from vita_data.types import Stage
from vita_model.distributed import Ranks, joined_ranks
from vita_model.training.checkpoint import run_folder, saver, shards, tensor_files
from vita_model.training.checkpoint.components import load_trainer
from vita_model.training.checkpoint.newest import newest_whole
from vita_model.training.checkpoint.run_folder import Kept, checkpoint_dirs, latest, remove_old
from vita_model.training.checkpoint.saver import Saver, Snapshot
from vita_model.training.checkpoint.state import Progress, read_state, sha256_of, state_text
from vita_model.training.recipes.recipe import Parallel
from vita_model.training.train import Trainer, train


def progress(step: int) -> Progress:
    return Progress(
        step=step, stage="warmup", recipe={}, sampler={}, statistics={}, drawn={}, features="random",
    )  # fmt: skip


def snapshot(step: int, *, rows: int = 4, fill: float = 0.0) -> Snapshot:
    random = torch.get_rng_state()
    weights = {f"codebook/part{number}": torch.full((rows, 256), fill + number) for number in range(4)}
    return Snapshot(
        weights=weights, optimizer={"optimizer/exp_avg/x": torch.full((rows, 256), fill)}, torch_rng=random,
        draw_rng=random, tokenizer=None, progress=progress(step),
    )  # fmt: skip


def test_training_goes_on_while_a_checkpoint_is_written_of_the_values_at_that_step(tmp_path, monkeypatch):
    may_write, write = threading.Event(), shards.write_tensors

    def slow(*args):
        assert may_write.wait(60)
        return write(*args)

    monkeypatch.setattr(shards, "write_tensors", slow)
    one = snapshot(1, fill=5.0)
    with Saver(tmp_path, kept=Kept(last=None), ranks=Ranks()) as saving:
        path = saving.save(one)
        one.weights["codebook/part0"].fill_(9.0)  # the next step
        assert not path.exists()
        may_write.set()
        saving.wait()
        assert bool((load_file(path / "codebook.safetensors")["part0"] == 5.0).all())
        assert not saving.has_failed


def test_a_failed_write_is_told_at_the_next_step_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "write_tensors", full)
    saving = Saver(tmp_path, kept=Kept(last=None), ranks=Ranks())
    saving.save(snapshot(1))
    with pytest.raises(VitaDataError, match=r"step-00000001 could not be written \(.*No space left.*--resume from"):
        saving.wait()
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_newest_are_kept_and_those_of_every_so_many_steps_and_of_named_ones(tmp_path):
    with Saver(tmp_path, kept=Kept(last=2, every=4, steps=(3,)), ranks=Ranks()) as saving:
        for step in range(1, 11):
            saving.save(snapshot(step))
    assert [int(path.name[-8:]) for path in checkpoint_dirs(tmp_path)] == [3, 4, 8, 9, 10]


def test_a_removal_that_was_killed_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    with Saver(tmp_path, kept=Kept(last=None), ranks=Ranks()) as saving:
        for step in (1, 2):
            saving.save(snapshot(step))

    def killed(path):
        next(iter(Path(path).iterdir())).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_old(tmp_path, Kept(last=1))
    assert [path.name for path in checkpoint_dirs(tmp_path)] == ["step-00000002"]


@pytest.mark.parametrize(
    "name", ["codebook.safetensors", "optimizer-00000-of-00001.safetensors", "state.json", "trainer.pt"]
)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_it(tmp_path, name):
    with Saver(tmp_path, kept=Kept(last=None), ranks=Ranks()) as saving:
        for step in (1, 2):
            saving.save(snapshot(step))
    path = latest(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-9])

    found = newest_whole(tmp_path, Ranks())
    assert found.checkpoint == tmp_path / "checkpoints" / "step-00000001"
    (line,) = found.told
    assert line.startswith("step-00000002 is damaged and is kept as step-00000002.damaged (")
    assert name in line
    assert line.endswith("resuming from step-00000001 before it")
    found.set_aside()
    assert [path.name for path in checkpoint_dirs(tmp_path)] == ["step-00000001"]
    assert (tmp_path / "checkpoints" / "step-00000002.damaged").is_dir()


def test_a_run_without_a_whole_checkpoint_is_refused_in_a_sentence(tmp_path):
    with Saver(tmp_path, kept=Kept(last=None), ranks=Ranks()) as saving:
        saving.save(snapshot(1))
    (latest(tmp_path) / "codebook.safetensors").unlink()
    with pytest.raises(VitaDataError, match=r"none of its 1 checkpoints is whole, the newest because .*codebook"):
        newest_whole(tmp_path, Ranks())


def peak_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def now_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def growth(run: str) -> list[int]:
    """The peak of a rank's host memory above what it had, for the first checkpoint and for three more."""
    with joined_ranks() as ranks:
        whole = snapshot(1, rows=1 << 14)  # 5 tensors of 16 MiB on each rank
        with Saver(Path(run), kept=Kept(last=1), ranks=ranks) as saving:
            saving.save(snapshot(0))
            saving.wait()
            grown = []
            for step in (1, 2, 3, 4):
                Path("/proc/self/clear_refs").write_text("5")
                before = now_bytes()
                saving.save(replace(whole, progress=progress(step)))
                saving.wait()
                grown.append(peak_bytes() - before)
        return grown


def test_a_rank_needs_host_memory_for_its_share_once(tmp_path):
    share, slack = 40 << 20, 8 << 20
    for first, *more in run_ranks(growth, 2, str(tmp_path)):
        assert first <= 1.2 * share + (17 << 20)  # five tensors are not divided evenly
        assert max(more) <= slack


MOMENTS = (
    (saver, "_check_finite"), (saver.Staging, "copy"), (shards.ChunkPlanner, "create_local_plan"),
    (saver, "begin_folder"), (shards, "write_tensors"), (tensor_files._Writer, "__exit__"), (shards, "join_parts"),
    (saver, "state_text"), (saver, "complete_folder"), (run_folder.shutil, "rmtree"),
)  # fmt: skip
"""What a save calls, in its order; some only on the first rank. `rmtree` comes last, when an old one is removed."""
_PATIENCE_S = 900.0
"""A rank that is too slow on a busy machine would be killed, at no chosen moment."""


def dies_in(moment: int) -> None:
    """Kill this process in the midst of a moment: after the call began, before what follows it."""
    owner, name = MOMENTS[moment]
    real = getattr(owner, name)
    calls = iter(range(100))

    def dying(*args, **kwargs):
        if next(calls) < 1 and name != "rmtree":
            return real(*args, **kwargs)  # the first checkpoint is written
        if name == "rmtree" and not (Path(args[0]) / "state.json").is_file():
            return real(*args, **kwargs)
        if name == "write_tensors":
            Path(args[0]).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, name, dying)


def train_until_killed(run: str, recipe, moment: int | None, victim: int, resume: bool) -> None:
    with joined_ranks() as ranks:
        if moment is not None and ranks.rank == victim:
            dies_in(moment)
        stream = SlicedStream(recipe.stage, ranks.rank, ranks.world_size, size=8)
        train(recipe, stream, Path(run), statistics={}, report=lambda line: None, resume=resume, ranks=ranks)


@pytest.mark.slow
def test_a_run_killed_at_ten_moments_of_a_save_ends_bit_equal(tmp_path):
    recipe = recipe_of(Stage.WARMUP, Parallel.FSDP, num_steps=26, save_every=2, keep_last=2, ema_decay=0.9)
    run_ranks(train_until_killed, 2, str(tmp_path / "whole"), recipe, None, 0, False, timeout_s=_PATIENCE_S)
    for moment in range(len(MOMENTS)):
        # What only the first rank does, kills the first rank.
        victim = moment % 2 if moment in (0, 1, 2, 4, 5) else 0
        with pytest.raises(AssertionError, match=r"exit codes of ranks that did not answer: .*-9"):
            run_ranks(
                train_until_killed, 2, str(tmp_path / "cut"), recipe, moment, victim, moment > 0, timeout_s=_PATIENCE_S
            )
    run_ranks(train_until_killed, 2, str(tmp_path / "cut"), recipe, None, 0, True, timeout_s=_PATIENCE_S)

    assert_equal_checkpoints(tmp_path)


def assert_equal_checkpoints(folder: Path) -> None:
    whole, cut = (latest(folder / name) for name in ("whole", "cut"))
    files = sorted(path.name for path in whole.glob("*.safetensors"))
    assert [name for name in files if name.startswith("optimizer-")] == [
        f"optimizer-0000{rank}-of-00002.safetensors" for rank in range(2)
    ]
    assert "averages.safetensors" in files
    assert files == sorted(path.name for path in cut.glob("*.safetensors"))
    for name in files:
        mine, theirs = load_file(whole / name), load_file(cut / name)
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == [], name
    assert read_state(whole) == read_state(cut)


def as_earlier_versions(trainer: Trainer, checkpoint: Path) -> None:
    """Rewrite a checkpoint of one process: the optimizer's whole state in trainer.pt, by numbers of parameters."""
    known, state = load_trainer(checkpoint), read_state(checkpoint)
    torch.save(
        {"optimizer": trainer.optimizer.state_dict(), "torch_rng": known.torch_rng, "draw_rng": known.draw_rng},
        checkpoint / "trainer.pt",
    )
    for path in checkpoint.glob("optimizer-*"):
        path.unlink()
    sha256 = {path.name: sha256_of(path) for path in checkpoint.iterdir() if path.name != "state.json"}
    fields = json.loads(state_text(state.progress, sha256))
    (checkpoint / "state.json").write_text(
        json.dumps({k: v for k, v in fields.items() if k not in ("bad_steps", "changes")})
    )


def test_a_checkpoint_of_an_earlier_version_resumes_bit_equal(make_recipe, make_stream, tmp_path):
    def trainer_of(name: str, num_steps: int) -> Trainer:
        recipe = make_recipe(Stage.WARMUP, num_steps=num_steps)
        return Trainer(recipe, make_stream(Stage.WARMUP), tmp_path / name, statistics={}, report=lambda line: None)

    def resume(name: str) -> Path:
        recipe = make_recipe(Stage.WARMUP, num_steps=5)
        stream = make_stream(Stage.WARMUP)
        return train(recipe, stream, tmp_path / name, statistics={}, report=lambda line: None, resume=True).checkpoint

    ends = {}
    for name, rewrite in (("new", lambda *_: None), ("old", as_earlier_versions)):
        (tmp_path / name).mkdir()
        trainer = trainer_of(name, 3)
        rewrite(trainer, trainer.fit().checkpoint)
        ends[name] = resume(name)
    assert read_state(ends["new"]).sha256 == read_state(ends["old"]).sha256
