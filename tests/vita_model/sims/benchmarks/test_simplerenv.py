"""SimplerEnv's protocols against packages with the real ones' names and signatures; assets are never fetched."""

import os
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError
from vita_data.types import CameraRole
from vita_model.policy.chunks import Execution
from vita_model.sims.benchmarks.simplerenv import SimplerRequest, evaluate_simplerenv
from vita_model.sims.benchmarks.simplerenv_tasks import STICKY_STEPS, Robot, StickyGripper
from vita_model.sims.cli.main import main
from vita_model.sims.results.delays import Delay

FILES = {
    "mani_skill/__init__.py": "",
    "mani_skill/envs/__init__.py": """
        import os
        # the real one downloads what is missing when this is set
        assert "MS_SKIP_ASSET_DOWNLOAD_PROMPT" not in os.environ
        """,
    "gymnasium/__init__.py": """
        import numpy as np, torch
        LOG = []
        class Env:
            def __init__(self, name):
                self.name = name
                self.unwrapped = self
            def reset(self, seed=None, options=None):
                self.seed, self.steps = seed, 0
                LOG.append(("reset", self.name, seed, options["episode_id"].tolist()))
                return self._seen(), {}
            def step(self, action):
                assert action.shape == (7,)
                self.steps += 1
                LOG.append(("step", action))
                # even episodes succeed from the 5th step on, odd ones only for a while
                good = self.steps >= 5 if self.seed % 2 == 0 else self.steps == 5
                truncated = torch.tensor([self.steps >= 60])
                return self._seen(), torch.zeros(1), torch.tensor([good]), truncated, {"success": torch.tensor([good])}
            def get_language_instruction(self):
                return ["put carrot on plate"]
            def close(self):
                LOG.append(("closed", self.name))
            def _seen(self):
                image = torch.full((1, 480, 640, 3), 5, dtype=torch.uint8)
                return {"sensor_data": {"3rd_view_camera": {"rgb": image}}}
        def make(name, obs_mode=None, num_envs=None):
            assert (obs_mode, num_envs) == ("rgb+segmentation", 1)
            return Env(name)
        """,
    "simpler_env/__init__.py": """
        import numpy as np
        LOG = []
        class Env:
            def reset(self, seed=None, options=None):
                self.steps = 0
                return {"image": seed}, {}
            def step(self, action):
                self.steps += 1
                LOG.append(action)
                return {"image": self.steps}, 0.0, self.steps >= 3, False, {}
            def get_language_instruction(self):
                return "pick coke can"
            def close(self):
                pass
        def make(task_name):
            LOG.append(task_name)
            return Env()
        """,
    "simpler_env/utils/__init__.py": "",
    "simpler_env/utils/env/__init__.py": "",
    "simpler_env/utils/env/observation_utils.py": """
        import numpy as np
        def get_image_from_maniskill2_obs_dict(env, obs, camera_name=None):
            return np.full((512, 640, 3), obs["image"] % 250, np.uint8)
        """,
}


@pytest.fixture
def installed(packages, tmp_path, monkeypatch):
    for folder in ("tasks/bridge_v2_real2sim_dataset", "robots/widowx"):
        (tmp_path / "ms" / "data" / folder).mkdir(parents=True)
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "ms"))
    monkeypatch.setenv("MS_SKIP_ASSET_DOWNLOAD_PROMPT", "1")
    return packages(FILES)


def _request(tmp_path, robot=Robot.WIDOWX, **changes):
    return SimplerRequest(**({"robot": robot, "out": tmp_path, "replan_steps": 4, "num_episodes": 4} | changes))


def _canonical(make_policy, rows=12):
    chunk = np.zeros((rows, 7))
    chunk[:, :3] = 0.01
    chunk[:, 3:6] = [0.1, -0.2, 0.3]
    chunk[:, 6] = 0.9
    return make_policy(chunk, convention="canonical")


def test_widowx(installed, tmp_path, make_policy):
    policy = _canonical(make_policy)
    result = evaluate_simplerenv(_request(tmp_path, columns=("PutCarrot",)), policy, lambda line: None)
    log = sys.modules["gymnasium"].LOG

    assert [entry for entry in log if entry[0] == "reset"] == [
        ("reset", "PutCarrotOnPlateInScene-v1", seed, [seed]) for seed in range(4)
    ]
    steps = [entry[1] for entry in log if entry[0] == "step"]
    assert len(steps) == 4 * 60
    np.testing.assert_allclose(steps[0][3:6], Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_rotvec())
    assert steps[0][6] == 1.0
    # success is what holds at the last step
    assert result["rates"]["PutCarrot"]["num_successes"] == 2
    assert result["table"] == 4
    assert policy.asked[0].images[CameraRole.PRIMARY].shape == (480, 640, 3)
    assert policy.asked[0].instruction == "put carrot on plate"
    assert not policy.asked[0].state.mask.any()


def test_a_policy_that_takes_time_stands_still_before_each_chunk(installed, tmp_path, make_policy):
    request = _request(tmp_path, columns=("PutCarrot",), num_episodes=1, delay=Delay(latency_ms=200))
    result = evaluate_simplerenv(request, _canonical(make_policy), lambda line: None)
    steps = [entry[1] for entry in sys.modules["gymnasium"].LOG if entry[0] == "step"]

    assert [step[:6].any() for step in steps] == [False, True, True, True, True] * 12  # of 5 steps a second
    assert {step[6] for step in steps} == {1.0}
    assert (result["latency_ms"], result["latency_steps"], result["idle_percent"]) == (200, 1, 20.0)
    assert not SimplerRequest(
        robot=Robot.WIDOWX, out=tmp_path, replan_steps=4, delay=Delay(execution=Execution.ASYNCHRONOUS)
    ).is_protocol


def test_all_four_tasks_by_default(installed, tmp_path, make_policy):
    result = evaluate_simplerenv(_request(tmp_path, num_episodes=1), _canonical(make_policy), lambda line: None)
    log = sys.modules["gymnasium"].LOG

    assert list(result["rates"]) == ["PutSpoon", "PutCarrot", "StackGreen", "PutEggplant"]
    assert sum(entry[0] == "step" for entry in log) == 60 + 60 + 60 + 120
    assert sum(entry[0] == "closed" for entry in log) == 4


def test_google_robot_by_signature(installed, tmp_path, make_policy):
    request = _request(tmp_path, robot=Robot.GOOGLE, columns=("PickCokeCan",), num_episodes=1)
    result = evaluate_simplerenv(request, _canonical(make_policy), lambda line: None)
    log = sys.modules["simpler_env"].LOG

    assert log[0] == "google_robot_pick_coke_can"
    assert len(log) == 1 + 80
    assert result["is_protocol"] is False
    assert result["rates"]["PickCokeCan"]["percent"] == 100.0


def test_the_sticky_gripper_goes_on_with_a_change():
    gripper = StickyGripper()
    sent = [gripper.command(opening) for opening in [1.0, 1.0] + [0.0] * 20 + [1.0] * 20]

    assert sent[:2] == [0.0, 0.0]
    assert sent[2 : 2 + STICKY_STEPS] == [1.0] * STICKY_STEPS
    assert sent[2 + STICKY_STEPS : 22] == [0.0] * 5
    assert sent[22 : 22 + STICKY_STEPS] == [-1.0] * STICKY_STEPS


def test_missing_assets_name_the_place(installed, tmp_path, make_policy, monkeypatch):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "absent"))
    with pytest.raises(RequestError, match=r"assets not found at .*absent/data/tasks/bridge_v2_real2sim_dataset"):
        evaluate_simplerenv(_request(tmp_path), _canonical(make_policy), lambda line: None)
    assert "mani_skill.envs" not in sys.modules


@pytest.mark.parametrize(("robot", "package"), [("widowx", "mani_skill"), ("google", "simpler_env")])
def test_a_missing_package_is_one_sentence(robot, package, tmp_path, capsys):
    code = main(["simplerenv", "--robot", robot, "--policy", "random", "--out", str(tmp_path)])
    assert code == 2
    assert f"package '{package}' not found" in capsys.readouterr().err


def test_the_environment_is_left_offline_only_while_it_runs(installed, tmp_path, make_policy, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    evaluate_simplerenv(_request(tmp_path, num_episodes=1), _canonical(make_policy), lambda line: None)
    assert "HF_HUB_OFFLINE" not in os.environ


def test_commands_of_another_simulator_and_unknown_tasks_are_refused(installed, tmp_path, make_policy):
    with pytest.raises(RequestError, match="--convention canonical"):
        evaluate_simplerenv(_request(tmp_path), make_policy(np.zeros((1, 7))), lambda line: None)
    with pytest.raises(RequestError, match="some of PutSpoon"):
        _request(tmp_path, columns=("PickCokeCan",))
