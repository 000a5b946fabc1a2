"""The bench of training steps: counted work, measured time, one line for a bad request."""

import json
from pathlib import Path

import pytest

from vita_data.bench.cli import main as vita_bench
from vita_model.bench import main

RECIPES = Path(__file__).parents[2] / "pipelines" / "recipes"


@pytest.mark.parametrize(("recipe", "kinds"), [("debug_warmup", ["video", "action"]), ("debug_finetune", ["paired"])])
def test_a_report_has_a_row_a_kind_of_batch(capsys: pytest.CaptureFixture[str], recipe: str, kinds: list[str]) -> None:
    assert main([str(RECIPES / f"{recipe}.py"), "--batch-size", "2", "--steps", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    assert [row["modality"] for row in report["rows"]] == kinds
    for row in report["rows"]:
        assert row["flop"] > 1e6
        assert row["floor_s"] == pytest.approx(row["flop"] / report["peak_flop_per_s"])
        assert row["mfu"] == pytest.approx(row["floor_s"] / row["step_s"])
        # A pair of frames, none, or in fine-tuning the present one alone.
        num_frames = {"video": 2, "action": 0, "paired": 1}[row["modality"]]
        assert row["frames_per_s"] == pytest.approx(num_frames * row["samples_per_s"])


def test_a_bad_request_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECIPES / "debug_warmup.py"), "--batch-size", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_vita_bench_finds_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert vita_bench(["train", str(RECIPES / "absent.py")]) == 2
    assert "no recipe" in capsys.readouterr().err
