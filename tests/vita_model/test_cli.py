"""The command line, with the loader replaced: exit codes, messages, what reaches the plan."""

import pytest

from vita_data.errors import ManifestError
from vita_data.types import Stage
from vita_model import cli

RECIPE = """
from dataclasses import replace
from vita_data.types import Stage
from vita_model.presets import tiny
from vita_model.recipe import Precision, Recipe

def recipe():
    model = tiny()
    model = replace(model, codebook=replace(model.codebook, num_codes=8),
                    features=replace(model.features, input_size=56, position_size=56),
                    visual_decoder=replace(model.visual_decoder, output_size=32))
    return Recipe(name="mine", stage=Stage.WARMUP, manifest="mine.toml", num_steps=50, batch_size=4, model=model,
                  precision=Precision.FP32)
"""


class FakePlan:
    notes = ("a note",)

    def __init__(self):
        self.statistics = {"toy_a": {}}

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
        return stream

    monkeypatch.setattr(cli, "Plan", FakePlan)
    monkeypatch.setattr(cli, "load_manifest", lambda path: path)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py", "--shards", "shards", "--out", "run"], "no recipe absent.py"),
        (["mine.py", "--shards", "nowhere", "--out", "run"], "--shards nowhere is no folder"),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "sed=1"], "did you mean 'seed'"),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "manifest=no.toml"], "no.toml, which is absent"),
        (["mine.py", "--shards", "shards", "--out", "shards/.."], "is not empty"),
        (["mine.py", "--shards", "shards", "--out", "mine.toml"], "is a file"),
        (["mine.py", "--shards", "shards", "--out", "run", "--set", "init=nowhere"], "no checkpoint in"),
    ],
)
def test_a_bad_request_ends_with_exit_code_2_and_one_line(place, capsys, arguments, message):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_manifest_that_names_absent_shards_ends_with_exit_code_2(place, monkeypatch, capsys):
    def refuse(manifest, **request):
        raise ManifestError("mine.toml names source 'bridge', which is not built")

    monkeypatch.setattr(FakePlan, "from_manifest", refuse)
    assert cli.main(["mine.py", "--shards", "shards", "--out", "run"]) == 2
    assert "not built" in capsys.readouterr().err


def test_a_run_that_goes_bad_ends_with_exit_code_1(place, capsys):
    arguments = ["mine.py", "--shards", "shards", "--out", "run", "--set", "loss.l1=1e39"]
    assert cli.main(arguments) == 1
    assert "step 1: loss inf in this video batch of clips toy-0000-0, " in capsys.readouterr().err


def test_a_missing_argument_ends_with_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["mine.py"])
    assert end.value.code == 2
