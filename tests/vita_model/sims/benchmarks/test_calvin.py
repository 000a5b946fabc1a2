"""CALVIN's protocol against packages with the real ones' names and signatures."""

import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.types import CameraRole, Demonstration
from vita_model.policy.opener import load_policy
from vita_model.sims.benchmarks import calvin_sequences
from vita_model.sims.benchmarks.calvin import CalvinRequest, chain_rates, evaluate_calvin
from vita_model.sims.benchmarks.calvin_installation import Renderer
from vita_model.sims.benchmarks.calvin_stand_ins import fnv1_32
from vita_model.sims.cli.main import main
from vita_model.sims.replay.calvin import calvin_worlds
from vita_model.sims.results.delays import Delay
from vita_model.sims.results.workers import Workers

FILES = {
    "calvin_agent/__init__.py": "",
    "calvin_agent/evaluation/__init__.py": "",
    "calvin_agent/evaluation/multistep_sequences.py": """
        from calvin_agent.evaluation.utils import temp_seed
        def get_sequences(num_sequences=1000, num_workers=None):
            return [({"led": k % 2}, tuple(f"task_{k}_{i}" for i in range(5))) for k in range(num_sequences)]
        """,
    "calvin_agent/evaluation/utils.py": """
        from calvin_agent.models.mcil import MCIL
        from calvin_agent.utils.utils import add_text, format_sftp_path
        import pyhash
        hasher = pyhash.fnv1_32()
        temp_seed = None
        def get_env_state_for_initial_condition(initial_condition):
            return "robot", hasher(str(initial_condition.values()))
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
            def __init__(self, description, use_scene_info):
                assert use_scene_info
                get_git_commit_hash(None)
                LOG.append(("made", description))
                self.cameras, self.steps = list(description.cameras), 0
            def load(self):
                LOG.append(("loaded",))
            def reset(self, robot_obs=None, scene_obs=None):
                LOG.append(("reset", robot_obs, scene_obs))
                self.steps = 0
                return self.get_obs()
            def get_obs(self):
                LOG.extend([("rendered", self.steps)] if self.cameras else [])
                robot = np.arange(15.0) / 100
                robot[6] = 0.04
                static, gripper = np.zeros((200, 200, 3), np.uint8), np.ones((84, 84, 3), np.uint8)
                images = {"rgb_static": static, "rgb_gripper": gripper} if self.cameras else {}
                return {"rgb_obs": images, "depth_obs": {}, "robot_obs": robot, "scene_obs": np.zeros(24)}
            def get_info(self):
                return {"steps": self.steps}
            def step(self, action):
                assert len(action) == 7 and action[6] in (-1, 1)
                self.steps += 1
                LOG.append(("step", action))
                return self.get_obs(), 0, False, self.get_info()
            def close(self):
                LOG.append(("closed",))
        """,
    "conf/config_data_collection.yaml": "",
    "omegaconf.py": """
        from types import SimpleNamespace
        class OmegaConf:
            @staticmethod
            def load(path):
                if path.name == "merged_config.yaml":
                    cameras = dict.fromkeys(["static", "gripper", "tactile"])
                    return SimpleNamespace(env=SimpleNamespace(cameras=cameras, use_egl=True), cameras=cameras)
                class Sentences(dict):
                    def __missing__(self, key):
                        return [f"do {key}", "never said"]
                return Sentences(path=str(path))
        """,
    "hydra/__init__.py": """
        from contextlib import contextmanager
        from types import SimpleNamespace
        from hydra import utils
        OVERRIDES = []
        @contextmanager
        def initialize_config_dir(folder, version_base):
            yield
        def compose(name, overrides):
            assert name == "config_data_collection"
            OVERRIDES.extend(overrides)
            cameras = dict.fromkeys(["static", "gripper"])
            return SimpleNamespace(env=SimpleNamespace(cameras=cameras, use_egl=True), cameras=cameras)
        """,
    "hydra/utils.py": """
        class Oracle:
            def get_task_info_for_set(self, start_info, end_info, tasks):
                # chain k carries out k of its tasks, each after three steps
                (task,) = tasks
                _, k, i = task.split("_")
                return {task} if int(i) < int(k) and end_info["steps"] - start_info["steps"] == 3 else set()
        def instantiate(config, show_gui=None, use_vr=None, use_scene_info=None):
            if use_scene_info is None:
                return Oracle()
            from calvin_env.envs.play_table_env import PlayTableSimEnv
            assert show_gui is False and use_vr is False
            return PlayTableSimEnv(config, use_scene_info)
        """,
}


@pytest.fixture
def installed(packages, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "task_ABC_D" / "validation" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "merged_config.yaml").write_text("")
    root = packages(FILES)
    chains = [({"led": k % 2}, [f"task_{k}_{i}" for i in range(5)]) for k in range(1000)]
    kept = calvin_sequences._kept(root / "calvin_agent")
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(chains))
    return root


def _request(tmp_path, **changes):
    wanted = {"out": tmp_path, "dataset": tmp_path / "task_ABC_D", "replan_steps": 2, "num_chains": 6, "max_steps": 10}
    return CalvinRequest(**(wanted | {"renderer": Renderer.TINY} | changes))


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


def test_the_hash_is_that_of_pyhash():
    """Values of pyhash 0.9.3's `fnv1_32`."""
    assert [fnv1_32("test"), fnv1_32(b"test"), fnv1_32(b"hello world")] == [3910690890, 3698262380, 2805756500]


def test_the_start_scene_is_seeded_by_the_hash(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), convention="calvin")
    evaluate_calvin(_request(tmp_path, num_chains=2), policy, lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG

    expected = [fnv1_32(f"dict_values([{led}])") for led in (0, 1)]
    assert [entry[2] for entry in log if entry[0] == "reset"] == expected


def test_stand_ins_do_not_stay(installed, tmp_path, make_policy):
    before = {name: sys.modules.get(name) for name in ("torch", "termcolor", "pyhash")}
    evaluate_calvin(
        _request(tmp_path, num_chains=1), make_policy(np.zeros((1, 7)), convention="calvin"), lambda line: None
    )
    assert {name: sys.modules.get(name) for name in before} == before
    assert not {"calvin_agent.models.mcil", "calvin_agent.utils.utils"} & set(sys.modules)


def test_chains_are_drawn_once(installed, tmp_path, make_policy):
    said = []
    (kept,) = (tmp_path / "cache/vita").iterdir()
    kept.unlink()
    for folder in ("a", "b"):
        policy = make_policy(np.zeros((1, 7)), convention="calvin")
        evaluate_calvin(_request(tmp_path, num_chains=1, out=tmp_path / folder), policy, said.append)
    assert sum("drawing CALVIN's 1000 instruction chains" in line for line in said) == 1

    kept.write_text("[]")  # damaged: drawn again
    evaluate_calvin(_request(tmp_path, num_chains=1, out=tmp_path / "c"), policy, said.append)
    assert sum("drawing CALVIN's 1000 instruction chains" in line for line in said) == 2
    assert len(json.loads(kept.read_text())) == 1000


def test_only_what_the_policy_sees_is_rendered(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), convention="calvin")
    evaluate_calvin(_request(tmp_path, num_chains=1, replan_steps=4), policy, lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG
    assert [entry[1] for entry in log if entry[0] == "rendered"] == [0, 4, 8]
    assert log[-1] == ("closed",)


@pytest.mark.parametrize("has_dataset", [True, False])
def test_the_scene_and_the_renderer_are_chosen_and_recorded(installed, tmp_path, make_policy, has_dataset):
    request = _request(tmp_path, num_chains=1, dataset=tmp_path / "task_ABC_D" if has_dataset else None)
    result = evaluate_calvin(request, make_policy(np.zeros((1, 7)), convention="calvin"), lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG

    ((_, description),) = [entry for entry in log if entry[0] == "made"]
    assert sorted(description.cameras) == ["gripper", "static"]
    assert description.use_egl is False
    assert result["renderer"] == "tiny"
    assert result["scene"].startswith("the dataset's" if has_dataset else "calvin_scene_D_eval, composed")
    assert ("scene=calvin_scene_D_eval" in sys.modules["hydra"].OVERRIDES) is not has_dataset


@pytest.mark.parametrize("latency_ms", [0, 34])
def test_workers_give_the_result_of_one_process(installed, tmp_path, latency_ms):
    opener, delay = partial(load_policy, "random", convention="calvin"), Delay(latency_ms=latency_ms)
    dataset = tmp_path / "task_ABC_D"
    one, two = (
        evaluate_calvin(
            _request(tmp_path, out=tmp_path / str(number), dataset=dataset, delay=delay),
            opener(),
            lambda line: None,
            workers=workers,
        )
        for number, workers in enumerate((None, Workers(number=2, open_policy=opener)))
    )
    assert one == two
    assert one["lengths"] == [0, 1, 2, 3, 4, 5]
    assert bool(one["idle_percent"]) == bool(latency_ms)


def test_a_film_shows_the_whole_chain(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), convention="calvin")
    evaluate_calvin(_request(tmp_path, num_chains=2, video=True), policy, lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG
    assert {path.name for path in (tmp_path / "videos").iterdir()} == {
        "chains-000.mp4", "chains-001.mp4", "index.html",
    }  # fmt: skip
    assert sum(entry[0] == "rendered" for entry in log) == 10 + (3 + 10)
    page = (tmp_path / "videos" / "index.html").read_text()
    assert "<figcaption>chains-001: not solved</figcaption>" in page
    assert "<p>2 episodes, 0 of 2 solved." in page


def test_the_protocol_has_the_dataset_and_its_renderer(tmp_path):
    full = {"num_chains": 1000, "max_steps": 360}
    assert _request(tmp_path, renderer=Renderer.EGL, **full).is_protocol
    assert not _request(tmp_path, renderer=Renderer.TINY, **full).is_protocol
    assert not _request(tmp_path, renderer=Renderer.EGL, delay=Delay(latency_ms=1), **full).is_protocol
    assert not _request(tmp_path, renderer=Renderer.EGL, dataset=None, **full).is_protocol


BROKEN = {
    "hydra/__init__.py": ("raise ImportError('no omegaconf here')", r"hydra cannot be imported \(no omegaconf here\)"),
    "hydra/utils.py": (
        "def instantiate(*a, **k):\n    raise KeyError('scene')",
        r"environment D failed \(KeyError: 'scene",
    ),
    "calvin_env/envs/play_table_env.py": ("raise SystemExit(3)", r"environment D failed \(it ended the program, 3\)"),
    "calvin_agent/evaluation/multistep_sequences.py": ("import os; os.abort()", r"ended by SIGABRT"),
    "pybullet.py": ("import sys; sys.exit()", r"EGL failed \(the process ended without a word, code 0\)"),
}


@pytest.mark.parametrize("file", sorted(BROKEN))
def test_whatever_breaks_is_one_line(installed, tmp_path, make_policy, file):
    text, told = BROKEN[file]
    if "sequences" in file:  # only then chains are drawn
        shutil.rmtree(tmp_path / "cache")
    (installed / file).write_text(text)
    renderer = Renderer.EGL if file == "pybullet.py" else Renderer.TINY
    with pytest.raises(RequestError, match=f"^CALVIN: [^\n]*{told}[^\n]*; [^\n]*$"):
        evaluate_calvin(
            _request(tmp_path, renderer=renderer), make_policy(np.zeros((1, 7)), convention="calvin"), lambda line: None
        )


def test_a_policy_that_takes_time_is_counted_over_all_instructions(installed, tmp_path, make_policy):
    request = _request(tmp_path, num_chains=2, delay=Delay(latency_ms=34))  # two of 30 steps a second
    result = evaluate_calvin(request, make_policy(np.full((12, 7), 0.5), convention="calvin"), lambda line: None)
    log = sys.modules["calvin_env.envs.play_table_env"].LOG
    moves = [entry[1][:6].any() for entry in log if entry[0] == "step"]

    failed = [False, False, True, True] * 2 + [False] * 2
    assert moves == failed + failed[:3] + failed
    assert (result["latency_ms"], result["latency_steps"], result["execution"]) == (34, 2, "synchronous")
    assert result["idle_percent"] == pytest.approx(100 * (6 + 2 + 6) / 23)
    assert result["lengths"] == [0, 1]


def demonstration(scene):
    commands = np.full((4, 7), 1.0)
    return Demonstration(
        rows=np.arange(4), commands=commands, executed=commands, end_m=np.zeros(3), success=True, state=np.arange(39.0),
        world={"scene": scene, "task": "task_1_0"},
    )  # fmt: skip


def test_a_window_is_replayed_in_its_scene_from_its_first_frame(installed):
    with calvin_worlds() as open_world:
        first, other = (open_world("a window", demonstration(f"calvin_scene_{letter}")) for letter in "AB")
        other.restore()
        seen = [other.is_success]
        for _ in range(4):
            other.step(np.ones(7))
            seen.append(other.is_success)
        assert other.hand_m().tolist() == [0, 0.01, 0.02]
        assert open_world("another", demonstration("calvin_scene_B"))._table is other._table
    log = sys.modules["calvin_env.envs.play_table_env"].LOG

    assert first._table is not other._table
    assert seen == [False, False, False, True, False]  # the oracle compares with the first frame
    assert [entry[0] for entry in log].count("made") == [entry[0] for entry in log].count("closed") == 2
    ((_, robot, scene),) = [entry for entry in log if entry[0] == "reset"]
    assert (robot.tolist(), scene.tolist()) == (list(range(15)), list(range(15, 39)))
    assert not any(entry[0] == "rendered" for entry in log)
    assert [text for text in sys.modules["hydra"].OVERRIDES if text.startswith("scene=")] == [
        "scene=calvin_scene_A", "scene=calvin_scene_B",
    ]  # fmt: skip


def test_a_scene_that_is_not_there_is_one_sentence(installed):
    with calvin_worlds() as open_world, pytest.raises(RequestError, match=r"expected a scene of .*, got '\.\./secret'"):
        open_world("a window", demonstration("../secret"))


def test_a_replay_without_calvin_is_one_sentence(toy_raw, toy_shards, capsys):
    asked = ["replay", "--shards", str(toy_shards / "calvin"), "--raw", str(toy_raw / "calvin"), "--quiet"]
    code = main([*asked, "--simulator", "calvin"])
    assert code == 2
    assert "CALVIN: package 'calvin_agent' not found in " in capsys.readouterr().err.splitlines()[-1]
