"""LIBERO's protocol against a package with the real one's names and signatures; nothing is asked or fetched."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import CameraRole
from vita_model.sims.benchmarks.libero import LiberoRequest, evaluate_libero
from vita_model.sims.cli.main import main

FILES = {
    "libero/__init__.py": "",
    "libero/libero/__init__.py": """
        import os
        from pathlib import Path
        _assets_path_cache = None
        CONFIG = Path(os.environ.get("LIBERO_CONFIG_PATH", "~/.libero")) / "config.yaml"
        if not CONFIG.exists():
            input("Do you want to specify a custom path? (Y/N): ")
        def get_libero_path(query_key):
            return str(Path(__file__).parent / query_key)
        """,
    "libero/libero/benchmark/__init__.py": """
        from collections import namedtuple
        Task = namedtuple("Task", "name language problem problem_folder bddl_file init_states_file")
        class Suite:
            n_tasks = 2
            def get_task(self, i):
                return Task(f"open_it_{i}", f"open it {i}", "Libero", "folder", f"task_{i}.bddl", "x")
            def get_task_init_states(self, i):
                return [(i, k) for k in range(50)]
        def get_benchmark_dict(help=False):
            return {"libero_goal": Suite}
        """,
    "libero/libero/bddl_files/folder/task_0.bddl": "",
    "libero/libero/bddl_files/folder/task_1.bddl": "",
    "libero/libero/assets/here": "",
    "libero/libero/envs/__init__.py": """
        import numpy as np
        LOG = []
        class OffScreenRenderEnv:
            def __init__(self, **kwargs):
                LOG.append(("made", kwargs))
            def seed(self, seed):
                LOG.append(("seed", seed))
            def reset(self):
                self.steps = 0
                return self._seen()
            def set_init_state(self, init_state):
                self.state = init_state
                LOG.append(("state", init_state))
                return self._seen()
            def step(self, action):
                assert isinstance(action, list) and len(action) == 7
                self.steps += 1
                LOG.append(("step", action))
                done = self.state[0] == 0 and self.steps >= 15
                return self._seen(), float(done), done, {}
            def close(self):
                LOG.append(("closed",))
            def _seen(self):
                image = np.zeros((256, 256, 3), np.uint8)
                image[0, 0] = 255
                return {
                    "agentview_image": image, "robot0_eye_in_hand_image": image,
                    "robot0_eef_pos": np.array([0.1, 0.2, 0.3]), "robot0_eef_quat": np.array([1.0, 0, 0, 0]),
                    "robot0_gripper_qpos": np.array([0.02, -0.02]), "robot0_joint_pos": np.zeros(7),
                }
        """,
}


@pytest.fixture
def installed(packages, tmp_path, monkeypatch):
    root = packages(FILES)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    (tmp_path / "config.yaml").write_text("assets: x\n")
    return root


def _request(tmp_path, **changes):
    wanted = {"suite": "libero_goal", "out": tmp_path, "replan_steps": 5, "num_trials": 3} | changes
    return LiberoRequest(**wanted)


def test_the_protocol(installed, tmp_path, make_policy):
    policy = make_policy(np.full((12, 7), 0.3), constants={"flip": "rot180"})

    result = evaluate_libero(_request(tmp_path), policy, lambda line: None)
    log = sys.modules["libero.libero.envs"].LOG

    assert [entry[1] for entry in log if entry[0] == "state"] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert {entry[1] for entry in log if entry[0] == "seed"} == {7}
    first = log.index(("state", (0, 0)))
    no_ops = [entry[1] for entry in log[first + 1 : first + 11]]
    assert no_ops == [[0, 0, 0, 0, 0, 0, -1]] * 10
    assert log[first + 11] == ("step", [0.3] * 6 + [1.0])
    # a done episode takes 5 commands after the 10 no-ops, one that fails the suite's 300
    assert sum(entry[0] == "step" for entry in log) == 3 * 15 + 3 * (10 + 300)
    assert log[0][1]["camera_heights"] == 256
    assert sum(entry[0] == "closed" for entry in log) == 2
    assert result["rates"]["GOAL"]["percent"] == 50.0
    assert result["is_protocol"] is False
    assert json.loads((tmp_path / "libero-libero_goal.json").read_text())["tasks"].keys() == {"open_it_0", "open_it_1"}


def test_what_the_policy_sees(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), constants={"orientation": "rot180"})
    evaluate_libero(_request(tmp_path, num_trials=1, tasks=(0,)), policy, lambda line: None)

    seen = policy.asked[0]
    assert seen.instruction == "open it 0"
    assert seen.images[CameraRole.PRIMARY][-1, -1].tolist() == [255] * 3
    assert seen.state.mask.sum() == 17
    assert seen.state.values[33] == pytest.approx(0.5)


def test_a_missing_package_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "libero" not in entry])
    code = main(["libero", "--suite", "libero_goal", "--policy", "random", "--out", str(tmp_path)])
    assert code == 2
    assert "package 'libero' not found" in capsys.readouterr().err


def test_missing_assets_name_the_place_and_nothing_is_imported(installed, tmp_path, make_policy):
    (installed / "libero/libero/assets/here").unlink()
    (installed / "libero/libero/assets").rmdir()
    with pytest.raises(RequestError, match=r"assets not found at .*libero/libero/assets; .*--assets"):
        evaluate_libero(_request(tmp_path), make_policy(np.zeros((1, 7))), lambda line: None)
    assert "libero.libero" not in sys.modules


def test_assets_elsewhere_are_handed_over(installed, tmp_path, make_policy, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    request = _request(tmp_path, num_trials=1, tasks=(0,), assets=Path("elsewhere"))
    evaluate_libero(request, make_policy(np.zeros((1, 7))), lambda line: None)
    assert sys.modules["libero.libero"]._assets_path_cache == str(tmp_path / "elsewhere")


def test_no_question_is_asked(installed, tmp_path, make_policy, monkeypatch):
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path / "absent"))
    with pytest.raises(RequestError, match=r"configuration not found at .*absent/config.yaml"):
        evaluate_libero(_request(tmp_path), make_policy(np.zeros((1, 7))), lambda line: None)


def test_requests_that_are_none(tmp_path):
    with pytest.raises(RequestError, match="suite"):
        _request(tmp_path, suite="libero_1000")
    with pytest.raises(RequestError, match="num_trials"):
        _request(tmp_path, num_trials=51)


def test_a_task_that_is_not_there(installed, tmp_path, make_policy):
    with pytest.raises(RequestError, match="expected tasks from 0 to 1, got 5"):
        evaluate_libero(_request(tmp_path, tasks=(5,)), make_policy(np.zeros((1, 7))), lambda line: None)


def test_another_simulators_policy_is_refused_before_anything_runs(installed, tmp_path, make_policy):
    with pytest.raises(RequestError, match="--convention libero"):
        evaluate_libero(_request(tmp_path), make_policy(np.zeros((1, 7)), convention="canonical"), lambda line: None)
    assert "libero.libero" not in sys.modules


def test_a_suite_goes_on_where_its_policy_vanished(installed, tmp_path, make_policy):
    policy, act = make_policy(np.full((12, 7), 0.3)), None

    def vanish(observation):
        if len(policy.asked) == 4:
            raise VitaDataError("the server is gone")
        return act(observation)

    act, policy.act = policy.act, vanish
    said = []
    with pytest.raises(VitaDataError, match="gone"):
        evaluate_libero(_request(tmp_path), policy, said.append)
    log = sys.modules["libero.libero.envs"].LOG
    assert [entry[1] for entry in log if entry[0] == "state"] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert "3 episodes are saved" in said[-1]

    log.clear()
    result = evaluate_libero(_request(tmp_path, resume=True), make_policy(np.full((12, 7), 0.3)), said.append)
    assert [entry[1] for entry in log if entry[0] == "state"] == [(1, 0), (1, 1), (1, 2)]
    assert sum(entry[0] == "made" for entry in log) == 1  # no simulator for a task that is over
    assert result["rates"]["GOAL"]["percent"] == 50.0
    assert [path.name for path in tmp_path.glob("libero-*")] == ["libero-libero_goal.json"]
