"""Evaluations of scripted tasks in several processes, filmed, interrupted and resumed: the result stays the same."""

import json
from functools import partial

import cv2
import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_model.policy.chunks import Execution
from vita_model.policy.opener import load_policy
from vita_model.sims.cli.main import main
from vita_model.sims.results.delays import Delay
from vita_model.sims.scripted.evaluate import EvaluateRequest, evaluate_scripted
from vita_model.sims.scripted.latency import LatencyRequest, measure_latency
from vita_model.sims.scripted.players import CONVENTION, ScriptedWorkers
from vita_model.sims.tabletop.task import TASKS, TabletopTask

OPEN_RANDOM = partial(load_policy, "random", convention=CONVENTION)
WORKERS = ScriptedWorkers(number=2, open_policy=OPEN_RANDOM, build=TabletopTask)


class Counter:
    """A progress display that keeps what it is told."""

    def __init__(self):
        self.total, self.notes = 0, []

    def start(self, total, *, done=0):
        self.total = total

    def update(self, amount=1, note=""):
        self.notes.append(note)


class Vanishing:
    """A policy that fails when it has answered a number of times."""

    def __init__(self, policy, answers):
        self.policy, self.left, self.info = policy, answers, policy.info

    def reset(self):
        self.policy.reset()

    def restart(self, episode):
        self.policy.restart(episode)

    def act(self, observation):
        if not self.left:
            raise VitaDataError("the server is gone")
        self.left -= 1
        return self.policy.act(observation)


def _request(out, **changes):
    wanted = {"benchmark": "tabletop", "spec": TASKS["lift_red"], "num_episodes": 3, "replan_steps": 1, "max_steps": 12}
    return EvaluateRequest(out=out, **(wanted | changes))


def _evaluate(request, policy=None, workers=None, say=lambda line: None, progress=None):
    task = TabletopTask(request.spec)
    return evaluate_scripted(request, policy or OPEN_RANDOM(), task, say, progress or Counter(), workers)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workers_give_the_files_of_one_process(tmp_path):
    delay = Delay(latency_ms=100, execution=Execution.ASYNCHRONOUS)
    one, two = tmp_path / "one", tmp_path / "two"
    for out, workers in ((one, None), (two, WORKERS)):
        result = _evaluate(_request(out, video=True, delay=delay), workers=workers)
        assert result["latency_steps"] == 2
        assert result["idle_percent"] > 50  # an answer of one command comes after two steps

    assert _files(one) == _files(two)
    films = [f"videos/policy-{1_000_000 + number}.mp4" for number in range(3)]
    assert sorted(_files(one)) == ["result.json", "rollouts.jpg", "rollouts.mp4", "videos/index.html", *films]
    assert all((one / film).stat().st_size > 1000 for film in films)
    page = (one / "videos" / "index.html").read_text()
    assert "<p>3 episodes, 0 of 3 solved." in page
    assert "<figcaption>policy-1000002: not solved</figcaption>" in page


@pytest.mark.parametrize("num_answers", [5, 12, 30])
def test_an_interrupted_evaluation_goes_on_to_the_same_files(tmp_path, num_answers):
    whole, parts, said = tmp_path / "whole", tmp_path / "parts", []
    _evaluate(_request(whole, video=True))
    with pytest.raises(VitaDataError, match="gone"):
        _evaluate(_request(parts, video=True), Vanishing(OPEN_RANDOM(), num_answers), say=said.append)
    num_saved = num_answers // 12
    if num_saved:
        assert said[-1] == f"{num_saved} episodes are saved in {parts}/result.episodes.jsonl; add --resume to continue"
        with pytest.raises(RequestError, match="replan_steps was 1, now 2"):
            _evaluate(_request(parts, resume=True, replan_steps=2))
        with pytest.raises(RequestError, match="add --resume to continue"):
            _evaluate(_request(parts))
    else:
        assert not any(parts.rglob("*.npy"))

    left = Vanishing(OPEN_RANDOM(), 36 - 12 * num_saved)  # no answer more than is missing
    _evaluate(_request(parts, video=True, resume=True), left)
    assert _files(whole) == _files(parts)


def test_episodes_that_were_not_asked_for_again_keep_their_images(tmp_path):
    with pytest.raises(VitaDataError):
        _evaluate(_request(tmp_path), Vanishing(OPEN_RANDOM(), 30))
    _evaluate(_request(tmp_path, num_episodes=1, resume=True))
    assert cv2.imread(str(tmp_path / "rollouts.jpg")).shape[0] == 96
    result = _evaluate(_request(tmp_path, num_episodes=2, resume=True), Vanishing(OPEN_RANDOM(), 0))
    assert len(result["episodes"]) == 2
    assert not any(tmp_path.rglob("*.npy"))

    with pytest.raises(VitaDataError):
        _evaluate(_request(tmp_path), Vanishing(OPEN_RANDOM(), 30))
    next(tmp_path.rglob("*.npy")).unlink()
    with pytest.raises(VitaDataError, match=r"images of an episode cannot be read; remove the unfinished evaluation"):
        _evaluate(_request(tmp_path, resume=True))


def test_the_display_counts_the_successes_of_each(tmp_path, make_arm):
    progress = Counter()
    arm = make_arm(works=lambda seed: seed % 2)
    request = _request(tmp_path, benchmark="robosuite", spec=arm.spec, num_episodes=2, max_steps=80)
    evaluate_scripted(request, OPEN_RANDOM(), arm, lambda line: None, progress)
    assert progress.total == len(progress.notes) == 6
    assert progress.notes[1::2] == [
        "policy: 0 of 2 succeeded (0 %)", "expert: 1 of 2 succeeded (50 %)", "random: 0 of 2 succeeded (0 %)",
    ]  # fmt: skip


def test_the_command_shares_films_and_resumes(tmp_path, capsys):
    asked = ["tabletop", "evaluate", "--task", "lift_red", "--policy", "random", "--out", str(tmp_path)]
    asked += ["--episodes", "2", "--max-steps", "4", "--latency-ms", "50", "--workers", "2", "--video", "--resume"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert f"films: {tmp_path}/videos/index.html" in said
    assert f"film of the first 2 episodes: {tmp_path}/rollouts.mp4" in said
    assert said.endswith(f"result: {tmp_path}/result.json\n")
    assert "random  0/2" in said
    assert json.loads((tmp_path / "result.json").read_text())["latency_ms"] == 50

    assert main(asked) == 0
    assert capsys.readouterr().out == (f"{tmp_path}/result.json is complete; choose another folder to evaluate again\n")

    before = (tmp_path / "result.json").read_bytes()
    assert main(asked[:-1]) == 2  # without --resume
    assert f"{tmp_path}/result.json holds the result of an earlier evaluation; choose" in capsys.readouterr().err
    assert (tmp_path / "result.json").read_bytes() == before


def test_delays_are_measured_alike_by_workers_and_after_an_interruption(tmp_path):
    def measure(name, policy=None, workers=None, say=lambda line: None):
        request = LatencyRequest(evaluation=_request(tmp_path / name, num_episodes=2), latencies_ms=(0, 100))
        task = TabletopTask(request.spec)
        rows = measure_latency(request, policy or OPEN_RANDOM(), task, say, workers=workers)
        return rows, _files(tmp_path / name)

    whole = measure("whole")
    assert measure("workers", workers=WORKERS) == whole
    said = []
    with pytest.raises(VitaDataError, match="gone"):
        measure("parts", Vanishing(OPEN_RANDOM(), 40), say=said.append)
    assert said[-1].endswith("latency.episodes.jsonl; run the command again to continue")
    assert measure("parts", Vanishing(OPEN_RANDOM(), 60)) == whole
