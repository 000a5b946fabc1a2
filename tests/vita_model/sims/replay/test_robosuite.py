"""Recorded in the real simulator, built, and replayed there: the stored actions move the arm as the raw commands do."""

import json
from pathlib import Path

import pytest

pytest.importorskip("robosuite", reason="robosuite 1.4.0 is not installed (vita_model/README.md, Success rates)")

from vita_data.cli.main import main as data
from vita_data.replay import find_built
from vita_model.sims.cli.main import main as evaluate
from vita_model.sims.replay.clips import replay_clips
from vita_model.sims.replay.robosuite import robosuite_worlds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # robosuite's and numba's own
]


@pytest.mark.parametrize("noise", ["none", "path"])
def test_a_demonstration_replays_as_it_was_recorded(
    tmp_path: Path, noise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, shards = str(tmp_path / "raw"), str(tmp_path / "shards")
    asked = ["robosuite", "record", "--task", "lift", "--out", raw, "--num-demos", "3", "--noise", noise]
    assert evaluate(asked) == 0
    assert data(["build", "--source", "libero", "--raw", raw, "--out", shards]) == 0
    capsys.readouterr()

    replay = ["replay", "--shards", shards, "--raw", raw, "--quiet"]
    assert evaluate([*replay, "--simulator", "robosuite", "--episodes", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split().count("success") == 3 * 2  # recorded, raw and product
    rates = json.loads((tmp_path / "replay.json").read_text())["rates"]
    assert {name: rate["num_successes"] for name, rate in rates.items()} == {"raw": 2, "stored": 2}
    (built,) = find_built(tmp_path / "shards", raw)
    (result,) = replay_clips(built, 1, robosuite_worlds())
    assert (result.product_success, result.raw_off_mm) == (True, 0.0)
    assert result.difference_mm < 1e-4
