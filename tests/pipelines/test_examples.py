"""The example scripts run as they are, where a newcomer has the README's shards and the demo's policy."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from vita_data.builder import BuildRequest, build
from vita_data.normalize import FrameSelection
from vita_data.sources import load
from vita_model.cli import main as train
from vita_model.sims.cli.main import main as evaluate

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "pipelines" / "examples"


@pytest.fixture
def where_shards_are(toy_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shards").symlink_to(toy_shards)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def shortened(script: str, folder: Path, changes: dict[str, str]) -> Path:
    """Copy a script with other constants; each must be there."""
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    for name, value in changes.items():
        text, count = re.subn(rf"(?m)^{re.escape(name)} = .*$", f"{name} = {value}", text)
        assert count == 1
    path = folder / script
    path.write_text(text, encoding="utf-8")
    return path


def test_scripts_are_notebooks() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 3
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert text.startswith("# %% [markdown]\n# # ")
        assert len(re.findall(r"(?m)^# %%$", text)) >= 3


def test_look_at_shards(where_shards_are: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    runpy.run_path(str(EXAMPLES / "look_at_shards.py"))
    assert {"clip.png", "frames.png"} <= set(os.listdir(where_shards_are))
    assert "dropped" in capsys.readouterr().out


def test_a_missing_matplotlib_is_named_in_one_line() -> None:
    code = (
        f"import runpy, sys\nsys.modules['matplotlib'] = None\nrunpy.run_path({str(EXAMPLES / 'look_at_shards.py')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install matplotlib" in done.stderr


def test_train_your_own(where_shards_are: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(shortened("train_your_own.py", where_shards_are, {"HORIZON, NUM_STEPS": "8, 2"})))
    said = capsys.readouterr().out
    assert re.search(r"held-out error \d\.\d+; always the mean action: \d\.\d+", said)
    assert re.search(r"the hand's motion in a step is wrong by \d+\.\d mm", said)


@pytest.mark.slow
def test_roll_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    script = shortened(
        "roll_out.py", tmp_path, {"POLICY": f"Path({str(tiny_policy(tmp_path))!r})", "NUM_EPISODES": "1"}
    )
    runpy.run_path(str(script))
    assert re.search(r"lifted \d of 1", capsys.readouterr().out)
    assert (tmp_path / "rollouts.mp4").is_file()


def tiny_policy(folder: Path) -> Path:
    """Record, build and train a few steps of each stage with the demo's recipes."""
    record = ["tabletop", "record", "--task", "lift_red", "--num-demos", "6", "--out", str(folder / "raw"), "--quiet"]
    assert evaluate(record) == 0
    request = BuildRequest(
        source="libero", raw=str(folder / "raw"), out=folder / "shards", settings=load("libero").Settings(),
        frames=FrameSelection.ALL,
    )  # fmt: skip
    build(request)
    before = None
    for stage, steps in (("warmup", 40), ("cotrain", 1), ("finetune", 1)):
        init = [] if before is None else ["--set", f"init={before}"]
        fill = ["--set", "codebook.continuous_updates=0"] if before is None else []
        before = folder / "runs" / stage
        arguments = [f"table_{stage}", "--shards", str(folder / "shards"), "--out", str(before), "--steps", str(steps)]
        assert train([*arguments, "--set", "eval_batches=0", "--set", "batch_size=4", *init, *fill]) == 0
    return before
