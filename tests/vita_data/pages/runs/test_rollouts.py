"""The report's section of rollouts: a film, a sentence that does not flatter, and refusals in words."""

import json
from pathlib import Path

import pytest

from vita_data.errors import RequestError, ShardError
from vita_data.pages.runs.rollouts import read_rollouts, rollouts_sections


def evaluation(folder: Path, successes: int) -> Path:
    rates = {
        "policy": {"num_successes": successes, "num_episodes": 20, "interval_percent": [5.0 * successes - 4, 99.0]},
        "expert": {"num_successes": 20, "num_episodes": 20, "interval_percent": [84.0, 100.0]},
        "random": {"num_successes": 0, "num_episodes": 20, "interval_percent": [0.0, 16.0]},
    }
    result = {
        "benchmark": "tabletop",
        "instruction": "lift the <red> cube",
        "policy": {"name": "runs/a"},
        "rates": rates,
    }
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "rollouts.mp4").write_bytes(b"film")
    return folder


def test_the_film_and_all_rates_are_shown(tmp_path: Path) -> None:
    (section,) = rollouts_sections([evaluation(tmp_path, 15)])
    assert "data:video/mp4;base64,ZmlsbQ==" in section.body
    assert (
        "The policy, runs/a, solved 15 of 20 episodes. For comparison: the scripted expert 20, random commands 0."
        in section.body
    )
    assert "<red>" not in section.body


def _change(folder: Path, **values: object) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | values))


@pytest.mark.parametrize(
    ("num_filmed", "words"),
    [
        ({"num_filmed": 10}, "The film shows the first 10 of the 20 episodes."),
        ({"num_filmed": 20}, "The film shows all episodes."),
        ({}, ""),
    ],
)
def test_the_film_says_how_many_episodes_it_shows(tmp_path: Path, num_filmed: dict[str, int], words: str) -> None:
    _change(evaluation(tmp_path, 15), **num_filmed)
    (section,) = rollouts_sections([tmp_path])
    assert words in section.body
    assert ("The film shows" in section.body) is bool(words), "an earlier version did not write how many"


def test_a_policy_that_is_no_run_of_the_page_is_said_to_be_trained_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rollouts, run, other = evaluation(tmp_path / "rollouts", 15), tmp_path / "runs" / "a", tmp_path / "runs" / "b"

    def said(*runs: Path) -> bool:
        (section,) = rollouts_sections([rollouts], runs)
        return "runs/a is not one of the training runs on this page; it was trained elsewhere." in section.body

    assert not said(other), "the policy may be served, or its folder may be elsewhere: nothing is known"
    run.mkdir(parents=True)
    assert said(other)
    assert not said(), "no run is shown that it could be taken for"
    assert not said(other, run)
    assert not said(Path("runs/../runs/a"))
    _change(rollouts, policy={"name": "runs/a/checkpoints"})
    (run / "checkpoints").mkdir()
    (section,) = rollouts_sections([rollouts], [run])
    assert "trained elsewhere" not in section.body


def test_few_successes_are_said_to_show_nothing(tmp_path: Path) -> None:
    (section,) = rollouts_sections([evaluation(tmp_path, 1)])
    assert "do not show that it is better than random commands" in section.body


def test_another_folder_and_a_damaged_result_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--rollouts .*: result\.json not found; give the --out of"):
        read_rollouts(tmp_path)
    evaluation(tmp_path, 1)
    (tmp_path / "result.json").write_text('{"rates": {}}')
    with pytest.raises(ShardError, match=r"cannot be read .*; run the evaluation again"):
        read_rollouts(tmp_path)


def test_trainings_share_a_section_with_their_mean_and_the_replay(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / f"seed-{seed}", successes) for seed, successes in enumerate((16, 18, 20))]
    for benchmark in ("tabletop", "robosuite"):
        (tmp_path / benchmark).mkdir()
        rates = {"stored": {"num_successes": 3, "num_episodes": 4, "interval_percent": [30.0, 95.0]}}
        (tmp_path / benchmark / "replay.json").write_text(json.dumps({"benchmark": benchmark, "rates": rates}))
    (section,) = rollouts_sections([*folders, tmp_path / "tabletop", tmp_path / "robosuite"])

    assert (
        "The policies of 3 trainings solved 16 of 20, 18 of 20, 20 of 20 episodes: 90% in the mean "
        "(95% interval over trainings: 65% to 100%)." in section.body
    )
    assert section.body.count("<video ") == 3
    assert f"the policy, {folders[1]}" in section.body
    assert section.body.count("the scripted expert") == 1
    assert section.body.count("replayed by their stored actions") == 1  # that of another simulator is not shown
    assert "3 of 4" in section.body


def test_another_task_has_its_own_section_and_a_damaged_replay_is_refused(tmp_path: Path) -> None:
    one, other = evaluation(tmp_path / "one", 15), evaluation(tmp_path / "other", 15)
    (other / "result.json").write_text((other / "result.json").read_text().replace("lift", "stack"))
    (alike,) = rollouts_sections([one, evaluation(tmp_path / "two", 15)])
    assert "75% in the mean (no training differs from another)." in alike.body
    titles = [section.title for section in rollouts_sections([one, other])]
    assert titles == ["Rollouts: lift the <red> cube", "Rollouts: stack the <red> cube"]

    (tmp_path / "replay.json").write_text("{}")
    with pytest.raises(ShardError, match=r"replay\.json: cannot be read .*; run the replay again"):
        list(rollouts_sections([one, tmp_path]))
    with pytest.raises(RequestError, match="a replay is shown beside evaluations"):
        list(rollouts_sections([tmp_path]))
