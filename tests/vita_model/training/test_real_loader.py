"""The command on toy shards through the real loader: three stages, hand-over, exact resume."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.object_store import running_store
from vita_model.cli import main
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import load_progress

RECIPES = Path(__file__).parents[3] / "pipelines" / "recipes"


@pytest.fixture
def vita_train(toy_shards):
    def call(stage, out, *more):
        return main(
            [
                str(RECIPES / f"debug_{stage}.py"),
                "--shards",
                str(toy_shards),
                "--out",
                str(out),
                "--set",
                "batch_size=4",
                *more,
            ]
        )

    return call


def tensors(run):
    return {
        (path.name, key): value for path in latest(run).glob("*.safetensors") for key, value in load_file(path).items()
    }


def assert_equal_runs(expected_run, actual_run):
    expected, actual = tensors(expected_run), tensors(actual_run)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_three_stages_run_one_after_the_other_and_resume_exactly(vita_train, tmp_path):
    warmup, cotrain, finetune, whole = (tmp_path / name for name in ("warmup", "cotrain", "finetune", "whole"))
    measured = ("--set", "eval_split=val", "--set", "eval_every=12", "--set", "eval_batches=2")
    assert vita_train("warmup", whole, "--steps", "18", *measured) == 0
    assert vita_train("warmup", warmup, "--steps", "7") == 0
    assert vita_train("warmup", warmup, "--steps", "18", "--resume") == 0
    assert_equal_runs(whole, warmup)

    assert vita_train("cotrain", cotrain, "--steps", "2", "--set", f"init={warmup}") == 0
    assert vita_train("cotrain", cotrain, "--steps", "3", "--resume") == 0
    assert vita_train("finetune", finetune, "--steps", "2", "--set", f"init={cotrain}") == 0

    progress = load_progress(latest(finetune))
    assert progress.step == 2
    assert set(progress.statistics) == {"libero"}
    shown = sorted(path.name for path in (finetune / "previews").iterdir())
    assert shown == ["step-00000002-actions.json", "step-00000002-latents.jpg"]
    rows = [json.loads(line) for line in (whole / "evaluation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [12, 18]


def test_a_run_on_shards_in_a_store_is_the_run_on_a_disk(toy_shards, tmp_path, capsys):
    manifest = tmp_path / "one.toml"
    manifest.write_text('name = "one"\nschema_version = 1\n[[sources]]\nsource = "bridge"\nweight = 1\n')
    settings = ["batch_size=4", f"manifest={manifest}", "order.kind=window", f"loader.remote.cache={tmp_path / 'kept'}"]
    more = [part for setting in settings for part in ("--set", setting)]

    def run(shards, out):
        recipe = str(RECIPES / "debug_warmup.py")
        return main([recipe, "--shards", str(shards), "--out", str(tmp_path / out), "--steps", "4", *more])

    assert run(toy_shards, "disk") == 0
    with running_store() as store:
        bucket = store.make_bucket()
        store.upload(toy_shards / "bridge", f"{bucket}/shards/bridge")
        assert run(f"{bucket}/shards", "store") == 0
        assert run(f"{bucket}/nothing", "none") == 2
        assert f"the folder of shards {bucket}/nothing does not exist" in capsys.readouterr().err
    assert_equal_runs(tmp_path / "disk", tmp_path / "store")
    assert list((tmp_path / "kept").glob("*.tar"))


def test_resume_with_another_mixture_is_refused_unless_allowed(vita_train, tmp_path, capsys):
    run = tmp_path / "run"
    assert vita_train("warmup", run, "--steps", "1") == 0
    other = tmp_path / "other.toml"
    other.write_text('name = "other"\nschema_version = 1\n[[sources]]\nsource = "bridge"\nweight = 1\n')
    more = ("--steps", "2", "--resume", "--set", f"manifest={other}")

    assert vita_train("warmup", run, *more) == 2
    assert "--allow-plan-change" in capsys.readouterr().err
    assert vita_train("warmup", run, *more, "--allow-plan-change") == 0


def test_a_manifest_whose_shards_are_absent_is_refused(toy_shards, tmp_path, capsys):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "bridge").symlink_to(toy_shards / "bridge")
    manifest = tmp_path / "wide.toml"
    tables = "".join(f'[[sources]]\nsource = "{name}"\nweight = 1\n' for name in ("bridge", "libero"))
    manifest.write_text(f'name = "wide"\nschema_version = 1\n{tables}')
    recipe, shards, run = (str(path) for path in (RECIPES / "debug_warmup.py", tmp_path / "some", tmp_path / "run"))
    assert main([recipe, "--shards", shards, "--out", run, "--set", f"manifest={manifest}"]) == 2
    said = capsys.readouterr().err
    assert "'libero'" in said
    assert "'bridge'" not in said
    assert said.count("\n") == 1


def test_another_chunk_length_than_the_windows_is_refused(vita_train, tmp_path, capsys):
    assert vita_train("warmup", tmp_path / "run", "--set", "model.action_encoder.horizon=5") == 2
    assert "chunks of 12 steps, but model.action_encoder.horizon is 5" in capsys.readouterr().err
