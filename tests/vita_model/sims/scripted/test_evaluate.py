"""Evaluation counts what it sees, shows it, and puts expert and random commands beside it; a stand-in simulates."""

import json

import cv2
import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_model.policy.commands import oriented
from vita_model.policy.interfaces import PolicyInfo
from vita_model.sims.cli import scripted as cli_scripted
from vita_model.sims.cli.main import main
from vita_model.sims.cli.options import results_folder
from vita_model.sims.robosuite.tasks import TASKS
from vita_model.sims.scripted.evaluate import EvaluateRequest, evaluate_scripted

LIFT = TASKS["lift"]


class Oracle:
    """A policy that looks into the simulator: what the best policy would do."""

    def __init__(self, arm):
        self.arm, self.info = arm, PolicyInfo(name="oracle", convention="libero", constants={"flip": "vflip"})
        self.asked = []

    def reset(self):
        pass

    def act(self, observation):
        self.asked.append(observation)
        return np.repeat(self.arm.spec.expert(self.arm.scene())[None], 2, axis=0)


def _request(tmp_path, **changes):
    return EvaluateRequest(
        **({"benchmark": "robosuite", "spec": LIFT, "out": tmp_path, "num_episodes": 4, "replan_steps": 2} | changes)
    )


def test_the_result_holds_all_three_rates(tmp_path, make_arm):
    arm, lines = make_arm(), []
    result = evaluate_scripted(_request(tmp_path), Oracle(arm), arm, lines.append)

    assert {name: rate["percent"] for name, rate in result["rates"].items()} == {
        "policy": 100.0,
        "expert": 100.0,
        "random": 0.0,
    }
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert [episode["seed"] for episode in result["episodes"]] == [1_000_000 + k for k in range(4)]
    assert result["num_filmed"] == 4
    assert any(line.startswith("policy  4/4 = 100.0 %") for line in lines)


def test_pictures_are_made_for_the_policy_alone_and_shown(tmp_path, make_arm):
    arm = make_arm()
    policy = Oracle(arm)
    evaluate_scripted(_request(tmp_path, num_episodes=2), policy, arm, lambda line: None)

    result = json.loads((tmp_path / "result.json").read_text())
    num_steps = sum(episode["num_steps"] for episode in result["episodes"])
    assert arm.num_renders == num_steps + 2  # and the end of each episode
    assert len(policy.asked) == num_steps / 2
    sheet = cv2.imread(str(tmp_path / "rollouts.jpg"))
    assert sheet.shape == (2 * 96, 6 + 8 * 96, 3)


def test_the_policy_sees_images_turned_as_its_constants_say(tmp_path, make_arm):
    arm = make_arm()
    policy = Oracle(arm)
    evaluate_scripted(_request(tmp_path, num_episodes=1), policy, arm, lambda line: None)
    arm.reset(1_000_000)
    for role, image in arm.images().items():
        np.testing.assert_array_equal(policy.asked[0].images[role], oriented(image, {"flip": "vflip"}))
    assert policy.asked[0].instruction == "lift the red cube"


def test_episodes_end_at_the_limit(tmp_path, make_arm, make_policy):
    result = evaluate_scripted(
        _request(tmp_path, max_steps=7), make_policy(np.zeros((4, 7))), make_arm(), lambda line: None
    )
    assert {episode["num_steps"] for episode in result["episodes"]} == {7}
    assert result["rates"]["policy"]["percent"] == 0.0


def test_another_seed_is_another_block_of_states(tmp_path):
    assert not set(_request(tmp_path).seeds) & set(_request(tmp_path, seed=1).seeds)
    with pytest.raises(RequestError, match="seed"):
        _request(tmp_path, seed=100)


def test_the_command_records_and_evaluates(tmp_path, make_arm, monkeypatch, capsys):
    monkeypatch.setattr(cli_scripted, "RobosuiteTask", make_arm)
    record = ["robosuite", "record", "--task", "lift", "--out", str(tmp_path / "raw"), "--num-demos", "2"]
    assert main([*record, "--noise", "none"]) == 0
    assert "the expert succeeded in 100.0 % of 2 episodes" in capsys.readouterr().out
    assert main(record) == 2
    assert "was recorded with" in capsys.readouterr().err
    evaluate = ["robosuite", "evaluate", "--task", "lift", "--policy", "random", "--out", str(tmp_path / "out")]
    assert main([*evaluate, "--episodes", "2", "--max-steps", "5"]) == 0
    assert "random  0/2" in capsys.readouterr().out


def test_a_folder_for_results_that_is_none_is_said_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli_scripted, "RobosuiteTask", None)
    (tmp_path / "out").write_text("")
    assert main(["robosuite", "evaluate", "--task", "lift", "--policy", "random", "--out", str(tmp_path / "out")]) == 2
    assert "expected a writable folder (File exists)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "code", "told"),
    [
        ("{tmp}/absent", 2, "absent: not found; expected the folder of a run"),
        ("{tmp}/runs/finetun", 2, "runs/finetun: not found; did you mean {tmp}/runs/finetune?"),
        ("{tmp}/runs/finetune", 2, "expected a checkpoint"),
        ("ws://127.0.0.1:9", 1, "ws://127.0.0.1:9"),
    ],
)
def test_a_policy_that_cannot_be_opened_leaves_no_folder(tmp_path, capsys, policy, code, told):
    (tmp_path / "runs" / "finetune").mkdir(parents=True)
    evaluate = ["tabletop", "evaluate", "--task", "lift_red", "--policy", policy.format(tmp=tmp_path)]
    assert main([*evaluate, "--out", str(tmp_path / "results" / "lift")]) == code
    assert told.format(tmp=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_folder_that_was_there_or_has_results_stays(tmp_path):
    def evaluate(out, *, writes):
        with results_folder(out):
            if writes:
                (out / "episodes.jsonl").touch()
            raise RequestError("broken")

    (tmp_path / "mine").mkdir()
    for out, writes in ((tmp_path / "mine", False), (tmp_path / "new" / "some", True)):
        with pytest.raises(RequestError, match="broken"):
            evaluate(out, writes=writes)
        assert out.is_dir()


def test_tables_and_trials_are_printed(tmp_path, capsys):
    sheet = tmp_path / "trials.csv"
    sheet.write_text("model,evaluation,success\nours,1,1\n")
    assert main(["trials", str(sheet)]) == 0
    assert "Table 5" in capsys.readouterr().out
    assert main(["table", str(sheet)]) == 2


def test_robosuite_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "robosuite", None)
    code = main(["robosuite", "record", "--task", "lift", "--out", str(tmp_path), "--num-demos", "1"])
    assert code == 2
    assert "pip install -e '.[robosuite]' && pip install --no-deps robosuite==1.4.0" in capsys.readouterr().err
