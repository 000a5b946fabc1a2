"""The table of delays: standing still costs time, running on does not, and a row is measured once."""

import json
from dataclasses import replace

import pytest

from vita_data.errors import RequestError
from vita_model.policy.chunks import Execution
from vita_model.sims.cli.main import main
from vita_model.sims.robosuite.tasks import TASKS
from vita_model.sims.scripted.evaluate import EvaluateRequest
from vita_model.sims.scripted.latency import LatencyRequest, measure_latency


def _request(tmp_path, **changes):
    evaluation = EvaluateRequest(
        benchmark="robosuite", spec=TASKS["lift"], out=tmp_path, num_episodes=2, replan_steps=4, max_steps=12
    )
    return LatencyRequest(**({"evaluation": evaluation, "latencies_ms": (0, 100)} | changes))


def _chunk(rows=12):
    return [[0.1, 0, 0, 0, 0, 0, -1.0]] * rows


def test_idle_steps_are_those_of_the_schedule_and_rows_are_kept(tmp_path, make_arm, make_policy):
    arm, policy = make_arm(), make_policy(_chunk())
    rows = measure_latency(_request(tmp_path), policy, arm, lambda line: None)

    found = {(row.latency_ms, row.execution): row.num_idle for row in rows}
    assert found == {
        (0, Execution.SYNCHRONOUS): 0,
        (0, Execution.ASYNCHRONOUS): 0,
        (100, Execution.SYNCHRONOUS): 2 * 4,  # 2 still, 4 moving, twice in each of two episodes
        (100, Execution.ASYNCHRONOUS): 2 * 2,  # only before the first answer
    }
    assert {row.num_steps for row in rows} == {24}
    assert [row.num_successes for row in rows] == [0] * 4

    asked = len(policy.asked)
    assert measure_latency(_request(tmp_path), policy, arm, lambda line: None) == rows
    assert len(policy.asked) == asked
    more = measure_latency(_request(tmp_path, latencies_ms=(0, 100, 400)), policy, arm, lambda line: None)
    assert more[:4] == rows
    assert len(more) == len(json.loads((tmp_path / "latency.json").read_text())["rows"]) == 6


def test_the_page_of_films_says_how_each_episode_ended(tmp_path, make_arm, make_policy):
    evaluation = replace(_request(tmp_path).evaluation, video=True)
    request = _request(tmp_path, evaluation=evaluation, latencies_ms=(0,))
    measure_latency(request, make_policy(_chunk()), make_arm(), lambda line: None)
    page = (tmp_path / "videos" / "index.html").read_text()
    assert "<p>4 episodes, 0 of 4 solved." in page
    assert page.count(": not solved</figcaption>") == 4


def test_rows_of_another_policy_are_refused(tmp_path, make_arm, make_policy):
    measure_latency(_request(tmp_path), make_policy(_chunk()), make_arm(), lambda line: None)
    other = make_policy(_chunk(), constants={"flip": "vflip"})

    with pytest.raises(RequestError, match="other settings; choose another --out"):
        measure_latency(_request(tmp_path), other, make_arm(), lambda line: None)
    with pytest.raises(RequestError, match="at least one latency"):
        _request(tmp_path, latencies_ms=())


def test_one_command_prints_the_table(tmp_path, capsys):
    asked = ["tabletop", "latency", "--task", "lift_red", "--policy", "random", "--out", str(tmp_path), "--quiet"]
    assert main([*asked, "--episodes", "1", "--latencies-ms", "0", "100"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["0", "ms", "synchronous"],
        ["0", "ms", "asynchronous"],
        ["100", "ms", "synchronous"],
        ["100", "ms", "asynchronous"],
    ]
    assert "0/1 = 0.0 %" in lines[1]
