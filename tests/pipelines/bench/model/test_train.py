"""The bench of training steps: counted work, measured time, one line for a bad request."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.cli import main as vita_bench
from pipelines.bench.model.cli import train as main
from vita_data.types import Modality
from vita_model.network.configs import LossConfig
from vita_model.training.estimate.fake_model import count_flop
from vita_model.training.recipes.load import load_recipe

RECIPES = Path(__file__).parents[4] / "pipelines" / "recipes"


@pytest.mark.parametrize(
    ("recipe", "kinds"), [("debug_warmup", ["video", "action", "paired"]), ("debug_finetune", ["paired"])]
)
def test_a_report_has_a_row_a_kind_of_batch(capsys: pytest.CaptureFixture[str], recipe: str, kinds: list[str]) -> None:
    assert main([str(RECIPES / f"{recipe}.py"), "--batch-size", "2", "--steps", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    assert [row["modality"] for row in report["rows"]] == kinds
    for row in report["rows"]:
        assert row["flop"] > 1e6
        assert row["floor_s"] == pytest.approx(row["flop"] / report["peak_flop_per_s"])
        assert row["mfu"] == pytest.approx(row["floor_s"] / row["step_s"])
        # A pair of frames, none, or in fine-tuning the present one alone.
        num_frames = {"video": 2, "action": 0, "paired": len(kinds) - 1 or 1}[row["modality"]]
        assert row["frames_per_s"] == pytest.approx(num_frames * row["samples_per_s"])


def test_a_bad_request_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECIPES / "debug_warmup.py"), "--batch-size", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_vita_bench_finds_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert vita_bench(["train", str(RECIPES / "absent.py")]) == 2
    assert "absent.py not found" in capsys.readouterr().err


def test_weights_held_in_bf16_and_no_optimizer(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--batch-size", "1", "--steps", "0", "--part", "forward-backward", "--weights", "bf16"]
    settings = ["--set", "recompute=true", "--modality", "paired", "--json"]
    assert main([str(RECIPES / "debug_cotrain.py"), *arguments, *settings]) == 0
    report = json.loads(capsys.readouterr().out)

    (row,) = report["rows"]
    assert (row["modality"], report["weights"], report["part"]) == ("paired", "bf16", "forward-backward")
    assert row["peak_memory_bytes"] > 2**27
    assert report["estimate"]["recompute"]


@pytest.mark.slow
def test_recomputing_costs_arithmetic_that_is_counted() -> None:
    # Frozen teachers are not computed again.
    recipe = replace(load_recipe(RECIPES / "debug_cotrain.py"), loss=LossConfig(tokens=0.0))
    plain, again = (count_flop(replace(recipe, recompute=recompute), Modality.PAIRED, 2) for recompute in (False, True))
    assert 1.15 * plain < again < 1.35 * plain


def test_a_teacher_costs_arithmetic_that_is_counted() -> None:
    recipe = load_recipe(RECIPES / "debug_cotrain.py")
    untaught = replace(recipe, loss=LossConfig(tokens=0.0))
    flop = [
        count_flop(one, Modality.PAIRED, 2) for one in (untaught, replace(recipe, num_taught_transitions=2), recipe)
    ]
    assert flop[0] < flop[1] < flop[2]


def test_a_kind_of_batch_that_the_stage_has_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    printed = [str(RECIPES / "debug_warmup.py"), "--set", "loss.cross=0"]
    assert main([*printed, "--modality", "paired"]) == 2
    assert "--modality paired: stage warmup only has video, action batches" in capsys.readouterr().err


def test_batches_are_those_of_the_recipes_windows_and_of_its_thought(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECIPES / "lift_finetune.py"), "--batch-size", "1", "--steps", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["frames_per_s"] == pytest.approx(2 * row["samples_per_s"])  # both cameras
    blind = [str(RECIPES / "debug_cotrain.py"), "--set", "cot.visual=none", "--set", "length=4", "--json"]
    assert main([*blind, "--batch-size", "1", "--steps", "1"]) == 0
    assert [row["modality"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["paired"]
    assert main([*blind, "--modality", "video"]) == 2
