"""LIBERO's protocol against a package with the real one's names and signatures; nothing is asked or fetched."""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import CameraRole
from vita_model.policy.chunks import Execution
from vita_model.policy.opener import load_policy
from vita_model.sims.benchmarks.libero import LiberoRequest, evaluate_libero
from vita_model.sims.benchmarks.libero_installation import read_states
from vita_model.sims.cli.main import main
from vita_model.sims.results.delays import Delay
from vita_model.sims.results.workers import Workers

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
                files = f"task_{i}.bddl", f"task_{i}.pruned_init"
                return Task(f"open_it_{i}", f"open it {i}", "Libero", "folder", *files)
        def get_benchmark_dict(help=False):
            return {"libero_goal": Suite}
        """,
    "libero/libero/bddl_files/folder/task_0.bddl": "",
    "libero/libero/bddl_files/folder/task_1.bddl": "",
    "libero/libero/assets/here": "",
    "robosuite/__init__.py": "",
    "robosuite/utils/__init__.py": "",
    "robosuite/utils/errors.py": "class RandomizationError(Exception): pass",
    "mujoco.py": """
        class GLContext:
            def __init__(self, width, height): pass
            def make_current(self): pass
            def free(self): pass
        """,
    "libero/libero/envs/__init__.py": """
        from types import SimpleNamespace
        import numpy as np
        from robosuite.utils.errors import RandomizationError
        LOG, FAULTS = [], []
        class Observable:
            def __init__(self, sensor):
                self._sensor = sensor
        class Inner:
            def __init__(self):
                arrays = {name: np.zeros((1, 3)) for name in (
                    "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "light_xpos",
                    "light_xdir", "xpos", "xmat", "xipos", "ximat",
                )}
                colours = {name: np.zeros((1, 4)) for name in ("geom_rgba", "site_rgba", "mat_rgba")}
                self.sim = SimpleNamespace(
                    data=SimpleNamespace(_data=SimpleNamespace(**arrays)),
                    model=SimpleNamespace(_model=SimpleNamespace(**colours)),
                )
            def reset(self):
                LOG.append(("reset",))
                if FAULTS:
                    raise FAULTS.pop()
                names = ("agentview_image", "robot0_eye_in_hand_image")
                self._observables = {name: Observable(self._sensor(name)) for name in names}
            def _sensor(self, name):
                def look(cache):
                    image = np.zeros((128, 128, 3), np.uint8)
                    image[0, 0], image[0, 1] = 255, self.sim.data._data.xpos[0, 0]
                    LOG.append(("rendered", name))
                    return image
                look.__modality__ = "image"
                return look
            def look(self):
                for observable in self._observables.values():
                    observable._sensor({})
        class OffScreenRenderEnv:
            def __init__(self, **kwargs):
                LOG.append(("made", kwargs))
                self.env = Inner()
            def seed(self, seed):
                LOG.append(("seed", seed))
            def reset(self):
                raise AssertionError("LIBERO's own loop never ends on Ctrl-C")
            def set_init_state(self, init_state):
                self.state, self.steps = init_state, 0
                LOG.append(("state", tuple(init_state)))
                self.env.look()
                return self._seen()
            def step(self, action):
                assert isinstance(action, list) and len(action) == 7
                self.steps += 1
                self.env.sim.data._data.xpos[:] = self.steps
                self.env.look()
                self.env.sim.data._data.xpos[:] = 200  # later in the same step
                LOG.append(("step", action))
                done = self.state[0] == 0 and self.steps >= 15
                return self._seen(), float(done), done, {}
            def close(self):
                LOG.append(("closed",))
            def _seen(self):
                return {
                    "robot0_eef_pos": np.array([0.1, 0.2, 0.3]), "robot0_eef_quat": np.array([1.0, 0, 0, 0]),
                    "robot0_gripper_qpos": np.array([0.02, -0.02]), "robot0_joint_pos": np.zeros(7),
                }
        """,
}


@pytest.fixture
def installed(packages, tmp_path, monkeypatch):
    root = packages(FILES)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path / "absent"))
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):  # what the product sets does not stay
        monkeypatch.setenv(name, "egl")
    (root / "libero/libero/init_files/folder").mkdir(parents=True)
    for i in range(2):
        states = np.array([(i, k) for k in range(50)], np.float64)
        torch.save(states, root / f"libero/libero/init_files/folder/task_{i}.pruned_init")
    return root


def _request(tmp_path, **changes):
    wanted = {"suite": "libero_goal", "out": tmp_path, "replan_steps": 5, "num_trials": 3} | changes
    return LiberoRequest(**wanted)


def test_the_protocol(installed, tmp_path, make_policy):
    policy = make_policy(np.full((12, 7), 0.3), constants={"flip": "rot180"})

    result = evaluate_libero(_request(tmp_path), policy, lambda line: None)
    log = [entry for entry in sys.modules["libero.libero.envs"].LOG if entry[0] != "rendered"]

    assert [entry[1] for entry in log if entry[0] == "state"] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert {entry[1] for entry in log if entry[0] == "seed"} == {7}
    first = log.index(("state", (0, 0)))
    no_ops = [entry[1] for entry in log[first + 1 : first + 11]]
    assert no_ops == [[0, 0, 0, 0, 0, 0, -1]] * 10
    assert log[first + 11] == ("step", [0.3] * 6 + [1.0])
    # a done episode takes 5 commands after the 10 no-ops, one that fails the suite's 300
    assert sum(entry[0] == "step" for entry in log) == 3 * 15 + 3 * (10 + 300)
    assert log[0][1]["camera_heights"] == result["image_size"] == 128
    assert sum(entry[0] == "closed" for entry in log) == 2
    assert result["rates"]["GOAL"]["percent"] == 50.0
    assert result["is_protocol"] is False
    assert json.loads((tmp_path / "libero-libero_goal.json").read_text())["tasks"].keys() == {"open_it_0", "open_it_1"}


def test_what_the_policy_sees(installed, tmp_path, make_policy):
    policy = make_policy(np.zeros((12, 7)), constants={"orientation": "rot180"})
    evaluate_libero(_request(tmp_path, num_trials=1, tasks=(0,), replan_steps=2), policy, lambda line: None)

    seen = policy.asked[0]
    assert seen.instruction == "open it 0"
    assert seen.images[CameraRole.PRIMARY][-1, -1].tolist() == [255] * 3
    # the picture shows the moment in which robosuite would have rendered, which is not the end of the step
    assert [each.images[CameraRole.PRIMARY][-1, -2, 0] for each in policy.asked] == [10, 12, 14]
    assert sys.modules["libero.libero.envs"].LOG.count(("rendered", "agentview_image")) == len(policy.asked)
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


def test_no_question_is_asked_and_no_configuration_stays(installed, tmp_path, make_policy):
    evaluate_libero(_request(tmp_path, num_trials=1, tasks=(0,)), make_policy(np.zeros((1, 7))), lambda line: None)
    assert os.environ["LIBERO_CONFIG_PATH"] == str(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_initial_states_cannot_execute_anything(installed, tmp_path, make_policy):
    file = installed / "libero/libero/init_files/folder/task_0.pruned_init"
    torch.save(Evil(), file)
    with pytest.raises(RequestError, match=r"^LIBERO: reading .*task_0.pruned_init failed \(UnpicklingError: [^\n]*$"):
        read_states(file)
    torch.save(np.zeros(3), file)
    with pytest.raises(RequestError, match=r"expected initial states \[N, D\], got shape \(3,\)"):
        read_states(file)


def test_placements_that_fail_are_repeated_and_nothing_else(installed, tmp_path, make_policy):
    request, policy = _request(tmp_path, num_trials=1, tasks=(0,)), make_policy(np.zeros((12, 7)))
    evaluate_libero(request, policy, lambda line: None)  # imports the packages
    environments = sys.modules["libero.libero.envs"]
    no_place = sys.modules["robosuite.utils.errors"].RandomizationError

    environments.LOG.clear()
    environments.FAULTS[:] = [no_place(), no_place()]
    evaluate_libero(_request(tmp_path / "b", num_trials=1, tasks=(0,)), policy, lambda line: None)
    assert sum(entry[0] == "reset" for entry in environments.LOG) == 3

    for fault in (KeyboardInterrupt(), ValueError("of the simulator")):
        environments.FAULTS[:] = [fault]
        with pytest.raises(type(fault)):
            evaluate_libero(_request(tmp_path / "c", num_trials=1, tasks=(0,)), policy, lambda line: None)
    environments.FAULTS[:] = [no_place() for _ in range(1000)]
    with pytest.raises(VitaDataError, match="no place for the objects of 'open it 0' in 100 attempts"):
        evaluate_libero(_request(tmp_path / "d", num_trials=1, tasks=(0,)), policy, lambda line: None)


def test_an_interruption_while_a_simulation_is_freed_is_not_lost(installed, tmp_path, make_policy, monkeypatch):
    request, policy = _request(tmp_path, num_trials=1, tasks=(0,)), make_policy(np.zeros((12, 7)))
    evaluate_libero(request, policy, lambda line: None)  # imports the packages
    inner = sys.modules["libero.libero.envs"].Inner
    reset = inner.reset

    class Freed:
        def __del__(self):  # whose exceptions Python drops
            signal.raise_signal(signal.SIGINT)

    def free_and_reset(self):
        Freed()
        reset(self)

    monkeypatch.setattr(inner, "reset", free_and_reset)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            evaluate_libero(_request(tmp_path / "b", num_trials=1, tasks=(0,)), policy, lambda line: None)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_was_run_stands_in_the_result(installed, tmp_path, make_policy):
    request = _request(tmp_path, num_trials=1, tasks=(0,), image_size=256)
    result = evaluate_libero(request, make_policy(np.zeros((1, 7))), lambda line: None)
    assert result["image_size"] == 256
    assert result["renderer"] == os.environ["MUJOCO_GL"]
    assert result["seeding"].startswith("7 before each episode")
    assert {"mujoco", "robosuite"} <= result["versions"].keys()


BROKEN = {
    "mujoco.py": ("raise ImportError('no libEGL.so')", r"rendering with MUJOCO_GL=\w+ failed \(ImportError: no libEGL"),
    "libero/libero/__init__.py": ("import nothing_of_this_name", r"libero.libero cannot be imported \(No module named"),
    "libero/libero/benchmark/__init__.py": ("raise OSError('gone')", r"importing .*libero failed \(OSError: gone\)"),
}


@pytest.mark.parametrize("file", sorted(BROKEN))
def test_whatever_breaks_is_one_line(installed, tmp_path, make_policy, file):
    text, told = BROKEN[file]
    (installed / file).write_text(text)
    with pytest.raises(RequestError, match=f"^LIBERO: [^\n]*{told}[^\n]*; [^\n]*$"):
        evaluate_libero(_request(tmp_path), make_policy(np.zeros((1, 7))), lambda line: None)


@pytest.mark.parametrize(("latency_ms", "idle_percent"), [(0, 0), (100, 80)])  # solved after five steps
def test_workers_give_the_result_of_one_process(installed, tmp_path, latency_ms, idle_percent):
    opener, delay = partial(load_policy, "random", convention="libero"), Delay(latency_ms=latency_ms)
    one, two = (
        evaluate_libero(
            _request(tmp_path / str(number), tasks=(0,), delay=delay), opener(), lambda line: None, workers=workers
        )
        for number, workers in enumerate((None, Workers(number=2, open_policy=opener)))
    )
    assert one == two
    assert one["idle_percent"] == idle_percent
    assert one["rates"]["GOAL"]["num_episodes"] == 3


def test_films_show_every_step(installed, tmp_path, make_policy):
    request, said = _request(tmp_path, num_trials=1, tasks=(0,), video=True), []
    evaluate_libero(request, make_policy(np.full((12, 7), 0.3)), said.append)
    assert [path.name for path in (tmp_path / "videos").glob("*.mp4")] == ["open_it_0-000.mp4"]
    assert said[-1] == f"films: {tmp_path}/videos/index.html"
    page = (tmp_path / "videos" / "index.html").read_text()
    assert "<figcaption>open_it_0-000: solved</figcaption>" in page
    assert "<p>1 episode, 1 of 1 solved." in page
    # 5 steps and the end
    assert sys.modules["libero.libero.envs"].LOG.count(("rendered", "agentview_image")) == 6


@pytest.mark.parametrize("execution", list(Execution))
def test_a_policy_that_takes_time_stands_still_until_its_answer(installed, tmp_path, make_policy, execution):
    request = _request(tmp_path, tasks=(0,), num_trials=1, delay=Delay(latency_ms=51, execution=execution))
    result = evaluate_libero(request, make_policy(np.full((12, 7), 0.3)), lambda line: None)
    steps = [entry[1] for entry in sys.modules["libero.libero.envs"].LOG if entry[0] == "step"][10:]

    assert steps == [[0.0] * 6 + [1.0]] * 2 + [[0.3] * 6 + [1.0]] * 3  # of 20 steps a second; solved after five
    delay = {"latency_ms": 51, "latency_steps": 2, "execution": str(execution), "idle_percent": 40.0}
    assert {key: result[key] for key in delay} == delay


def test_a_delay_is_not_the_protocol_and_never_changes_on_resume(installed, tmp_path, make_policy):
    assert _request(tmp_path, num_trials=50).is_protocol
    assert not _request(tmp_path, num_trials=50, delay=Delay(latency_ms=1)).is_protocol
    assert not _request(tmp_path, num_trials=50, delay=Delay(execution=Execution.ASYNCHRONOUS)).is_protocol

    policy = make_policy(np.full((12, 7), 0.3))
    policy.act = lambda observation: policy.asked.append(0) or (policy.chunk if len(policy.asked) < 2 else None)
    with pytest.raises(VitaDataError):
        evaluate_libero(_request(tmp_path), policy, lambda line: None)
    with pytest.raises(RequestError, match="latency_ms was 0, now 100; latency_steps was 0, now 2"):
        evaluate_libero(_request(tmp_path, resume=True, delay=Delay(latency_ms=100)), policy, lambda line: None)


def test_the_command_takes_a_delay(installed, tmp_path, capsys):
    asked = ["libero", "--suite", "libero_goal", "--policy", "random", "--out", str(tmp_path), "--trials", "1"]
    assert main([*asked, "--tasks", "0", "--latency-ms", "100", "--execution", "asynchronous", "--quiet"]) == 0
    result = json.loads((tmp_path / "libero-libero_goal.json").read_text())
    assert (result["latency_ms"], result["execution"]) == (100, "asynchronous")


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
