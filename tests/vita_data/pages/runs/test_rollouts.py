"""The report's section of rollouts: a film, a sentence that does not flatter, and refusals in words."""

import json
from pathlib import Path

import pytest

from vita_data.errors import RequestError, ShardError
from vita_data.pages.runs.rollouts import read_rollouts, rollouts_section


def evaluation(folder: Path, successes: int) -> Path:
    rates = {
        "policy": {"num_successes": successes, "num_episodes": 20, "interval_percent": [5.0 * successes - 4, 99.0]},
        "expert": {"num_successes": 20, "num_episodes": 20, "interval_percent": [84.0, 100.0]},
        "random": {"num_successes": 0, "num_episodes": 20, "interval_percent": [0.0, 16.0]},
    }
    result = {"benchmark": "tabletop", "instruction": "lift the <red> cube", "rates": rates}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "rollouts.mp4").write_bytes(b"film")
    return folder


def test_the_film_and_all_rates_are_shown(tmp_path: Path) -> None:
    section = rollouts_section(evaluation(tmp_path, 15))
    assert "data:video/mp4;base64,ZmlsbQ==" in section.body
    assert (
        "The policy solved 15 of 20 episodes. For comparison: the scripted expert 20, random commands 0."
        in section.body
    )
    assert "<red>" not in section.body


def test_few_successes_are_said_to_show_nothing(tmp_path: Path) -> None:
    assert "do not show that it is better than random commands" in rollouts_section(evaluation(tmp_path, 1)).body


def test_another_folder_and_a_damaged_result_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--rollouts .*: result\.json not found; give the --out of"):
        read_rollouts(tmp_path)
    evaluation(tmp_path, 1)
    (tmp_path / "result.json").write_text('{"rates": {}}')
    with pytest.raises(ShardError, match=r"cannot be read .*; run the evaluation again"):
        read_rollouts(tmp_path)
