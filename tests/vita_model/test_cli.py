"""The command line, with the loader replaced: exit codes, messages, what reaches the plan."""

from typing import ClassVar

import pytest

from vita_data.errors import ManifestError
from vita_data.loader import Damage, LoaderOptions, RemoteOptions
from vita_data.types import DrawOrder, Manifest, Modality, Order, ResizeMode, Stage, Starts, WindowSpec
from vita_model import cli
from vita_model.training.train import RunEnd

RECIPE = """
from dataclasses import replace
from vita_data.types import ResizeMode, Stage
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import Precision, Recipe

def recipe():
    model = tiny()
    model = replace(model, codebook=replace(model.codebook, num_codes=8),
                    visual=replace(model.visual, input_size=56, position_size=56),
                    visual_decoder=replace(model.visual_decoder, output_size=32))
    return Recipe(name="mine", stage=Stage.WARMUP, manifest="mine.toml", num_steps=50, batch_size=4, model=model,
                  eval_batches=0,
                  precision=Precision.FP32)
"""


class FakePlan:
    notes = ("a note",)
    joint_sources = ()
    modality_steps: ClassVar = {Modality.VIDEO: 0.5, Modality.ACTION: 0.5}

    def __init__(self):
        self.windows = WindowSpec(starts=Starts.KEYFRAMES, horizon=12, futures=1)
        self.statistics, self.resizes = {"toy_a": {}}, {"toy_a": ResizeMode.PLAIN}

    @classmethod
    def from_manifest(cls, manifest, **request):
        plan = cls()
        plan.request = request
        return plan


@pytest.fixture
def place(tmp_path, monkeypatch, make_stream):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RECIPE)
    (tmp_path / "mine.toml").touch()
    (tmp_path / "shards").mkdir()
    made = []

    def make_loader(plan, **options):
        stream = make_stream(Stage.WARMUP)
        made.append((plan, stream))
        plan.loader_options = options
        return stream

    monkeypatch.setattr(cli, "Plan", FakePlan)
    monkeypatch.setattr(cli, "load_manifest", lambda path: Manifest(name="mine", entries=(), path=str(path)))
    monkeypatch.setattr(cli, "conventions", lambda plan: {})
    monkeypatch.setattr(cli, "make_loader", make_loader)
    return made


def test_a_run_and_its_resumption_end_with_exit_code_0(place, tmp_path, capsys):
    first = cli.main(["mine.py", "--shards", "shards", "--out", "run", "--steps", "2"])
    again = cli.main(["mine.py", "--shards", "shards", "--out", "run", "--steps", "3", "--resume"])

    assert (first, again) == (0, 0)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]
    out = capsys.readouterr().out
    assert "a note" in out
    assert "step 3/3" in out
    assert "done at step 3" in out
    assert all(stream.is_closed for _, stream in place)
    assert place[0][0].request["stage"] is Stage.WARMUP


def test_the_memory_is_that_of_batches_that_the_sources_have(place, capsys, monkeypatch):
    train = ["mine.py", "--shards", "shards", "--out"]
    assert cli.main([*train, "whole", "--steps", "1"]) == 0
    assert "fp32; video batches of 4)" in capsys.readouterr().out
    monkeypatch.setattr(FakePlan, "modality_steps", {Modality.ACTION: 1.0})
    assert cli.main([*train, "run", "--steps", "1"]) == 0
    assert "fp32; action batches of 4)" in capsys.readouterr().out


def test_a_changed_rate_reaches_a_resumed_run_and_no_new_one(place, tmp_path, capsys):
    run, change = ["mine.py", "--shards", "shards", "--out", "run"], ["--change", "optimizer.lr=1e-5"]
    assert cli.main([*run, "--steps", "1", *change]) == 2
    assert "--change optimizer.lr=1e-5: expected --resume with it" in capsys.readouterr().err
    assert cli.main([*run, "--steps", "1"]) == 0
    assert cli.main([*run, "--steps", "2", "--resume", "--change", "codebook.decay=0.5"]) == 2
    assert "--change model.codebook.decay: a resumed run cannot change this field" in capsys.readouterr().err
    assert cli.main([*run, "--steps", "2", "--resume", *change]) == 0
    assert "changed optimizer.lr from 0.0001 to 1e-05" in capsys.readouterr().out
    assert cli.main([*run, "--steps", "3", "--resume"]) == 2
    assert "or with --change optimizer.lr=0.0001" in capsys.readouterr().err


def test_how_batches_are_read_reaches_plan_and_loader_and_a_store_is_no_folder_to_look_for(place):
    settings = ["order.kind=window", "loader.threads=3", "loader.damage=substitute", "loader.remote.cache=kept"]
    more = [part for setting in settings for part in ("--set", setting)]
    assert cli.main(["mine.py", "--shards", "s3://bucket/shards", "--out", "run", "--steps", "1", *more]) == 0
    plan = place[0][0]
    assert plan.request["shards"] == "s3://bucket/shards"
    assert plan.request["order"] == DrawOrder(kind=Order.WINDOW)
    assert plan.loader_options == {
        "rank": 0, "world_size": 1,
        "options": LoaderOptions(threads=3, damage=Damage.SUBSTITUTE, remote=RemoteOptions(cache="kept")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py", "--shards", "shards", "--out", "run"], "recipe absent.py not found"),
        (
            ["mine.py", "--shards", "nowhere", "--out", "run"],
            "--shards nowhere: folder not found; build one with `vita-data build --source NAME --raw RAW",
        ),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "sed=1"], "did you mean 'seed'"),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "manifest=no.toml"], "manifest no.toml not found"),
        (["mine.py", "--shards", "shards", "--out", "shards/.."], "is not empty"),
        (["mine.py", "--shards", "shards", "--out", "mine.toml"], "is a file"),
        (
            ["mine.py", "--shards", "shards", "--out", "s3://bucket/run"],
            "s3:/bucket/run: expected a local folder, got an address",
        ),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "init=nowhere"], "no checkpoint in"),
    ],
)
def test_a_bad_request_ends_with_exit_code_2_and_one_line(place, capsys, arguments, message):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("save_every=0", "Recipe.save_every must be a whole number, at least 1; found 0"),
        ("eval_every=0", "Recipe.eval_every must be a whole number, at least 1; found 0"),
        ("eval_every=2", "recipe mine: eval_every=2 needs held-out windows"),
        ("report_every=0", "Recipe.report_every must be"),
        ("keep_last=0", "Recipe.keep_last must be"),
        ("num_steps=100000000", "Recipe.num_steps must be a whole number, at least 1 and at most 99999999"),
        ("num_supervised_frames=0", "Recipe.num_supervised_frames must be"),
        ("seed=-1", "Recipe.seed must be"),
        (f"seed={10**30}", "Recipe.seed must be"),
        ("batch_size=0", "Recipe.batch_size must be"),
        ("accumulate=3", "expected accumulate to divide the 4 samples per rank (batch_size 4, ranks 1), got 3"),
        ("accumulate=8", "expected accumulate to divide the 4 samples per rank (batch_size 4, ranks 1), got 8"),
        ("batch_size={'video':'x'}", "Recipe.batch_size must be"),
        ("modality_steps={'video':'a'}", "Recipe.modality_steps must be"),
        ("loader.threads=0", "LoaderOptions.threads must be a whole number, at least 1; found 0"),
        ("loader.read_timeout_s=0", "LoaderOptions.read_timeout_s must be a finite number above 0"),
        ("loader.damage=ignore", "expected one of raise, substitute, got 'ignore'"),
        ("loader.remote.prefetch=-1", "RemoteOptions.prefetch must be"),
        ("loader.remote.cache_bytes=0", "RemoteOptions.cache_bytes must be"),
        ("modality_steps={[]:1}", "expected a value of type Mapping"),
        ("optimizer.lr=-1", "OptimizerConfig.lr must be a finite number above 0 and at most 1e+15; found -1.0"),
        ("optimizer.lr=1e400", "OptimizerConfig.lr must be"),
        ("optimizer.lr=1e200", "OptimizerConfig.lr must be a finite number above 0 and at most 1e+15; found 1e+200"),
        (f"optimizer.lr={10**400}", "expected a value of type float"),
        ("optimizer.betas=(0.9,)", "OptimizerConfig.betas must be two numbers in [0, 1)"),
        ("optimizer.betas=(2,3)", "OptimizerConfig.betas must be"),
        ("optimizer.betas=('a',0.9)", "OptimizerConfig.betas must be"),
        ("optimizer.max_grad_norm=0", "OptimizerConfig.max_grad_norm must be"),
        ("optimizer.weight_decay=-1", "OptimizerConfig.weight_decay must be"),
        ("loss.l1=-1", "LossConfig.l1 must be a finite number, 0 or more; found -1.0"),
        ("model.codebook.num_codes=0", "CodebookConfig.num_codes must be"),
        ("model.codebook.width=0", "CodebookConfig.width must be"),
        ("model.codebook.decay=1", "CodebookConfig.decay must be a number in [0, 1)"),
        ("model.action_encoder.horizon=5", "chunks of 12 steps, but model.action_encoder.horizon is 5"),
        ("model.action_decoder.max_steps=11", "chunks of 12 steps, but model.action_decoder.max_steps is 11"),
        ("model.visual_encoder.blocks.num_heads=3", "width 64 must be a multiple of num_heads (3)"),
        ("model.visual_decoder.output_size=33", "output_size 33 must be a multiple"),
        ("model.visual.input_size=5", "its model cannot be built"),
        ("model.visual.position_size=5", "its model cannot be built"),
        ("visual.encoder.ffn_width=65", "ffn_width 65 a multiple of width"),
        ("visual.backbone=", "FeatureConfig.backbone must be a folder"),
        (
            "visual.backbone=/nowhere/dinov2",
            "visual.backbone=/nowhere/dinov2: not found, neither as a folder nor on the Hugging Face hub",
        ),
        ("visual.backbone=shards", "visual.backbone=shards: shards has no config.json"),
        ("model.action_decoder.max_latents=5", "expected max_latents of at least 12 in both decoders, got 5"),
        ("model.codebook.num_codes=1000000000000000", "its model cannot be built"),
    ],
)
def test_a_setting_that_cannot_train_ends_with_exit_code_2_and_one_line(place, tmp_path, capsys, setting, message):
    assert cli.main(["mine.py", "--shards", "shards", "--out", "run", "--steps", "1", "--set", setting]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_ends_with_exit_code_1_and_one_line(place, monkeypatch, capsys):
    def interrupt(recipe, stream, run, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("vita_model.training.train.train", interrupt)
    assert cli.main(["mine.py", "--shards", "shards", "--out", "run"]) == 1
    assert capsys.readouterr().err == "vita-train: interrupted; add --resume to continue from the last checkpoint\n"


def test_a_run_that_sigterm_stopped_is_not_done(place, monkeypatch, capsys):
    def stop(recipe, stream, run, **options):
        return RunEnd(step=3, interrupted=True, checkpoint=run / "step-00000003")

    monkeypatch.setattr("vita_model.training.train.train", stop)
    assert cli.main(["mine.py", "--shards", "shards", "--out", "run"]) == 1
    assert capsys.readouterr().err == (
        "vita-train: stopped by SIGTERM at step 3, saved run/step-00000003; add --resume to continue\n"
    )


def test_a_manifest_that_names_absent_shards_ends_with_exit_code_2(place, monkeypatch, capsys):
    def refuse(manifest, **request):
        raise ManifestError("mine.toml names source 'bridge', which is not built")

    monkeypatch.setattr(FakePlan, "from_manifest", refuse)
    assert cli.main(["mine.py", "--shards", "shards", "--out", "run"]) == 2
    assert "not built" in capsys.readouterr().err


def test_a_run_that_goes_bad_ends_with_exit_code_1(place, capsys):
    arguments = ["mine.py", "--shards", "shards", "--out", "run", "--set", "loss.l1=1e39", "--set", "max_bad_steps=0"]
    assert cli.main(arguments) == 1
    assert "step 1: expected a finite loss, got inf in a batch of video clips toy-0000-0, " in capsys.readouterr().err


def test_a_missing_argument_ends_with_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["mine.py"])
    assert end.value.code == 2
