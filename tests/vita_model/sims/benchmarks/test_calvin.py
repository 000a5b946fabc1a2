"""CALVIN's protocol against packages with the real ones' names and signatures."""

import json
import sys

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.types import CameraRole
from vita_model.sims.benchmarks.calvin import CalvinRequest, chain_rates, evaluate_calvin, fnv1
from vita_model.sims.cli.main import main

FILES = {
    "calvin_agent/__init__.py": "",
    "calvin_agent/evaluation/__init__.py": "",
    "calvin_agent/evaluation/multistep_sequences.py": """
        def get_sequences(num_sequences=1000, num_workers=None):
            return [({"led": k % 2}, tuple(f"task_{k}_{i}" for i in range(5))) for k in range(num_sequences)]
        """,
    "calvin_agent/evaluation/utils.py": """
        import pyhash
        hasher = pyhash.fnv1_32()
        def get_env_state_for_initial_condition(initial_condition):
            hasher(str(initial_condition.values()))
            return "robot", "scene"
        """,
    "conf/callbacks/rollout/tasks/new_playtable_tasks.yaml": "",
    "conf/annotations/new_playtable_validation.yaml": "",
    "calvin_env/__init__.py": "",
    "calvin_env/envs/__init__.py": "",
    "calvin_env/envs/play_table_env.py": """
        import numpy as np
        LOG = []
        def get_git_commit_hash(path):
            raise RuntimeError("not a clone")
        class PlayTableSimEnv:
            def reset(self, robot_obs=None, scene_obs=None):
                LOG.append(("reset", robot_obs, scene_obs))
                self.steps = 0
                return self.get_obs()
            def get_obs(self):
                robot = np.arange(15.0) / 100
                robot[6] = 0.04
                static, gripper = np.zeros((200, 200, 3), np.uint8), np.ones((84, 84, 3), np.uint8)
                images = {"rgb_static": static, "rgb_gripper": gripper}
                return {"rgb_obs": images, "depth_obs": {}, "robot_obs": robot, "scene_obs": np.zeros(24)}
            def get_info(self):
                return {"steps": self.steps}
            def step(self, action):
                assert len(action) == 7 and action[6] in (-1, 1)
                self.steps += 1
                LOG.append(("step", action))
                return self.get_obs(), 0, False, self.get_info()
        def get_env(dataset_path, obs_space=None, show_gui=True, **kwargs):
            assert not show_gui
            get_git_commit_hash(dataset_path)
            LOG.append(("made", dataset_path))
            return PlayTableSimEnv()
        """,
    "omegaconf.py": """
        class OmegaConf:
            @staticmethod
            def load(path):
                class Sentences(dict):
                    def __missing__(self, key):
                        return [f"do {key}", "never said"]
                return Sentences(path=str(path))
        """,
    "hydra/__init__.py": "from hydra import utils",
    "hydra/utils.py": """
        class Oracle:
            def get_task_info_for_set(self, start_info, end_info, tasks):
                # chain k carries out k of its tasks, each after three steps
                (task,) = tasks
                _, k, i = task.split("_")
                return {task} if int(i) < int(k) and end_info["steps"] - start_info["steps"] == 3 else set()
        def instantiate(config):
            return Oracle()
        """,
}


@pytest.fixture
def installed(packages, tmp_path):
    folder = tmp_path / "task_ABC_D" / "validation" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "merged_config.yaml").write_text("")
    return packages(FILES)


def _request(tmp_path, **changes):
    wanted = {"out": tmp_path, "dataset": tmp_path / "task_ABC_D", "replan_steps": 2, "num_chains": 6, "max_steps": 10}
    return CalvinRequest(**(wanted | changes))


def test_chains_end_at_their_first_failure(installed, tmp_path, make_policy):
    result = evaluate_calvin(_request(tmp_path), make_policy(np.zeros((12, 7)), convention="calvin"), lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG

    assert result["lengths"] == [0, 1, 2, 3, 4, 5]
    assert result["average_number"] == 2.5
    assert [result["rates"][str(k)]["num_successes"] for k in range(1, 6)] == [5, 4, 3, 2, 1]
    assert sum(entry[0] == "reset" for entry in log) == 6
    # an instruction that is carried out takes 3 steps, one that is not all 10
    assert sum(entry[0] == "step" for entry in log) == 3 * (0 + 1 + 2 + 3 + 4 + 5) + 10 * 5
    assert json.loads((tmp_path / "calvin.json").read_text())["is_protocol"] is False


def test_the_policy_is_reset_before_each_instruction_and_its_chunk_is_forgotten(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), convention="calvin")
    evaluate_calvin(_request(tmp_path, num_chains=3), policy, lambda line: None)

    assert policy.num_resets == 1 + 2 + 3
    assert policy.asked[0].instruction == "do task_0_0"
    # asked at steps 0, 2, 4, 6, 8 of the failed one, then at 0 and 2 of each that succeeds after 3
    assert len(policy.asked) == 5 + (2 + 5) + (2 + 2 + 5)


def test_what_the_policy_sees(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), convention="calvin")
    evaluate_calvin(_request(tmp_path, num_chains=1), policy, lambda line: None)
    seen = policy.asked[0]

    assert seen.images[CameraRole.PRIMARY].shape == (200, 200, 3)
    assert seen.images[CameraRole.WRIST_RIGHT].max() == 1
    assert seen.state.mask.nonzero()[0].tolist() == list(range(24, 41))
    assert seen.state.values[33] == pytest.approx(0.5)
    np.testing.assert_allclose(seen.state.values[34:41], np.arange(7, 14) / 100, rtol=1e-6)


def test_the_average_is_the_sum_of_the_rates():
    lengths = [0, 5, 3, 3]
    rates = chain_rates(lengths)
    assert sum(rate.percent for rate in rates.values()) / 100 == pytest.approx(np.mean(lengths))


def test_missing_parts_name_the_place(installed, tmp_path, make_policy, capsys):
    policy = make_policy(np.zeros((1, 7)), convention="calvin")
    with pytest.raises(RequestError, match=r"description of environment D not found at .*absent/validation/.hydra"):
        evaluate_calvin(_request(tmp_path, dataset=tmp_path / "absent"), policy, lambda line: None)
    (installed / "conf/annotations/new_playtable_validation.yaml").unlink()
    with pytest.raises(RequestError, match=r"configuration not found at .*new_playtable_validation.yaml"):
        evaluate_calvin(_request(tmp_path), policy, lambda line: None)


def test_a_missing_package_is_one_sentence(tmp_path, capsys):
    code = main(["calvin", "--dataset", str(tmp_path), "--policy", "random", "--out", str(tmp_path)])
    assert code == 2
    assert "package 'calvin_agent' not found in " in capsys.readouterr().err


def test_the_hash_is_fnv1():
    """Published test vectors of FNV-1, 32 bits."""
    assert [fnv1(""), fnv1("a"), fnv1("foobar")] == [0x811C9DC5, 0x050C5D7E, 0x31F0B262]
