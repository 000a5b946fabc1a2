"""The real LIBERO from the package index alone: its tasks, states, controller and success check, generated assets."""

import json
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("libero", reason="hf-libero 0.1.4 is not installed (vita_model/README.md, Success rates)")

import vita_data
from tests.vita_model.serving.conftest import running
from tests.vita_model.sims.benchmarks.interruption import results
from tests.vita_model.sims.benchmarks.libero_assets import write_assets
from vita_data.action_convention import Convention
from vita_data.cli.main import main as data
from vita_data.replay import find_built
from vita_data.slots import RIGHT_STATE, STATE_XYZ, within
from vita_model.policy.interfaces import PolicyInfo
from vita_model.serving.options import ServeOptions
from vita_model.sims.benchmarks import libero_task
from vita_model.sims.benchmarks.libero import LiberoRequest, evaluate_libero
from vita_model.sims.benchmarks.libero_installation import LiberoSuite
from vita_model.sims.benchmarks.libero_task import LiberoTask
from vita_model.sims.cli.main import main as evaluate
from vita_model.sims.replay.clips import replay_clips
from vita_model.sims.replay.libero import libero_worlds
from vita_model.sims.scripted.expert import CLOSE, OPEN, Scene
from vita_model.sims.scripted.noise import CALM
from vita_model.sims.scripted.record import RecordRequest, record
from vita_model.sims.scripted.task import Proprioception, TaskSpec, no_op

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # robosuite's and numba's own
]
SUITE, TASK, NUM_EPISODES = "libero_object", 0, 2
RIGHT_ARM = slice(16, 23)
HAND = within(RIGHT_STATE, STATE_XYZ)
UP = np.array([0.0, 0.0, 1.0])
SOUP, BASKET = "alphabet_soup_1", "basket_1"


def expert(scene: Scene) -> np.ndarray:
    """Grasp the can, carry it over the basket, let it go."""
    hand, can, basket = scene.hand_xyz_m, scene.cube_xyz_m, scene.target_xyz_m
    aside = np.linalg.norm((can - hand)[:2])
    if np.linalg.norm((can - basket)[:2]) < 0.03:
        return command(hand, hand, OPEN)
    if scene.cube_held:
        is_high = can[2] > basket[2] + 0.12
        goal = np.where(is_high, basket + hand - can, hand)
        return command(hand, np.array([*goal[:2], basket[2] + 0.17]), CLOSE)
    if aside > 0.012 and hand[2] < can[2] + 0.08:
        return command(hand, hand + UP * 0.05, OPEN)
    if aside > 0.012:
        return command(hand, can + UP * 0.12, OPEN)
    return command(hand, can, CLOSE if hand[2] - can[2] < 0.015 else OPEN)


def command(hand: np.ndarray, goal: np.ndarray, gripper: float) -> np.ndarray:
    return np.array([*np.clip((goal - hand) / 0.05 * 1.2, -1, 1), 0, 0, 0, gripper])


class Recorded:
    """LIBERO's task as the recorder of scripted demonstrations needs it; a seed is the number of an initial state."""

    def __init__(self, suite: LiberoSuite) -> None:
        info = PolicyInfo(name="expert", convention="libero")
        self.environment = suite.environment(TASK)
        self.task = LiberoTask(self.environment, suite.initial_states(TASK), suite.instruction(TASK), info)
        self.step, self.close = self.task.step, self.environment.close
        self.models: list[str] = []
        self.spec = TaskSpec(
            name="soup", environment=SUITE, instruction=suite.instruction(TASK), max_steps=280, expert=expert, cubes=()
        )

    def reset(self, seed):
        self.task.reset(seed)
        self.models.append(self.environment.env.sim.model.get_xml())

    @property
    def is_success(self):
        return self.task.is_success

    def images(self):
        return {role: self.task._cameras.render(name) for role, name in libero_task._CAMERAS.items()}

    def proprioception(self):
        seen = self.task._seen
        names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "robot0_joint_pos")
        xyz_m, quaternion, fingers_m, joints_rad = (np.array(seen[name]) for name in names)
        return Proprioception(xyz_m=xyz_m, quaternion_xyzw=quaternion, fingers_m=fingers_m, joints_rad=joints_rad)

    def scene(self):
        inner, arm = self.environment.env, self.proprioception()
        soup, basket = (np.array(inner.sim.data.body_xpos[inner.obj_body_id[name]]) for name in (SOUP, BASKET))
        held = inner._check_grasp(gripper=inner.robots[0].gripper, object_geoms=inner.objects_dict[SOUP])
        return Scene(
            hand_xyz_m=arm.xyz_m, finger_width_m=float(np.ptp(arm.fingers_m)), finger_speed_m_s=0.0, cube_xyz_m=soup,
            cube_held=bool(held), target_xyz_m=basket,
        )  # fmt: skip

    def simulator_state(self):
        return self.environment.get_sim_state()


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Record and build; gives the folder of `assets`, `raw` and `shards`."""
    root = tmp_path_factory.mktemp("libero")
    (root / "assets").mkdir()
    with closing(Recorded(LiberoSuite(SUITE, write_assets(root / "assets"), 128))) as task:
        request = RecordRequest(spec=task.spec, out=root / "raw", num_demos=NUM_EPISODES, seed=0, noise=CALM)
        report = record(request, lambda: task, print)
        assert report.num_failed == 0
        with h5py.File(report.path, "r+") as file:  # as LIBERO's recorder does
            for number, model in enumerate(task.models):
                file[f"data/demo_{number}"].attrs["model_file"] = model
    report.path.parent.rename(root / "raw" / SUITE)
    arguments = ["--raw", str(root / "raw"), "--out", str(root / "shards"), "--frames", "all"]
    assert data(["build", "--source", "libero", *arguments]) == 0
    return root


def commands_of(clip) -> np.ndarray:
    return Convention.of(clip.clip.extras).commands(clip.action[:, RIGHT_ARM])


def clips_of(recording: Path) -> list:
    return sorted(vita_data.open_source(recording / "shards" / "libero"), key=lambda clip: clip.episode)


class ReplayPolicy:
    """Commands rebuilt from the canonical actions of built clips, an episode a clip."""

    def __init__(self, recording: Path) -> None:
        # the recorder begins with a no-op; a build leaves out the still end, in which the can falls
        still = np.tile(no_op(), (100, 1))
        self.chunks = [np.vstack([no_op(), commands_of(clip), still]) for clip in clips_of(recording)]
        self.info = PolicyInfo(name="replay", convention="libero", constants={"flip": "rot180"})
        self.number = -1

    def reset(self):
        self.number += 1

    def act(self, observation):
        return self.chunks[self.number]


class NearestFrame:
    """A server's policy without memory: it goes on as the demonstration did whose frame looks most like this one."""

    num_steps = 12

    def __init__(self, recording: Path) -> None:
        clips = clips_of(recording)
        self.frames = np.concatenate([clip.frames("primary")[:, ::2, ::2] for clip in clips]).astype(np.float32)
        self.places = np.concatenate([clip.clip.state.values[:, HAND] for clip in clips])
        still = np.tile(no_op(), (self.num_steps, 1))
        paths = [np.vstack([commands_of(clip), still]) for clip in clips]
        self.chunks = [path[row : row + self.num_steps] for path in paths for row in range(len(path) - self.num_steps)]
        constants = Convention.of(clips[0].clip.extras).as_json()
        self.metadata = {
            "convention": "libero",
            "constants": constants,
            "step": 0,
            "digest": "1",
            "sources": ["libero"],
        }

    def act(self, request):
        looks = np.abs(self.frames - request["observation/image"].astype(np.float32)).mean(axis=(1, 2, 3))
        away_m = np.linalg.norm(self.places - request["observation/state"][HAND], axis=1)
        return {"actions": self.chunks[int(np.argmin(looks + away_m / 0.002))]}


def test_an_expert_is_recorded_built_and_replayed_to_the_same_end(recording, tmp_path, monkeypatch):
    states: list[np.ndarray] = []
    step = LiberoTask.step

    def watched(self, command):
        states.append(self._environment.get_sim_state())
        step(self, command)

    monkeypatch.setattr(LiberoTask, "step", watched)
    wanted = LiberoRequest(
        suite=SUITE, out=tmp_path, replan_steps=280, num_trials=NUM_EPISODES, tasks=(TASK,), assets=recording / "assets"
    )
    result = evaluate_libero(wanted, ReplayPolicy(recording), print)

    assert result["rates"]["OBJECT"]["num_successes"] == NUM_EPISODES
    assert json.loads((tmp_path / f"libero-{SUITE}.json").read_text())["image_size"] == 128
    (path,) = (recording / "raw" / SUITE).iterdir()
    with h5py.File(path) as file:
        demos = [file[f"data/demo_{number}"] for number in range(NUM_EPISODES)]
        recorded = np.concatenate([demo["states"][: 1 + np.argmax(demo["dones"])] for demo in demos])
    assert len(states) == len(recorded)  # each episode ends in the same step
    assert np.abs(np.array(states) - recorded).max() < 1e-4


def test_stored_actions_and_raw_commands_end_alike(recording, capsys):
    shards, raw = recording / "shards" / "libero", str(recording / "raw")
    asked = ["replay", "--shards", str(shards), "--raw", raw, "--simulator", "libero", "--quiet"]
    assert evaluate([*asked, "--assets", str(recording / "assets")]) == 0
    assert capsys.readouterr().out.split().count("success") == 3 * NUM_EPISODES  # recorded, raw and product

    (built,) = find_built(shards, raw)
    (result,) = replay_clips(built, 1, libero_worlds(recording / "assets"))
    assert result.difference_mm < 1e-3
    assert result.raw_off_mm < 1


def test_a_served_policy_is_evaluated_interrupted_and_resumed_to_the_same_result(recording, tmp_path):
    with running(NearestFrame(recording), ServeOptions()) as port:
        asked = ["libero", "--suite", SUITE, "--tasks", str(TASK), "--trials", str(NUM_EPISODES)]
        asked += ["--policy", f"ws://127.0.0.1:{port}", "--assets", str(recording / "assets")]
        one, two = results(asked, tmp_path, f"libero-{SUITE}")
    assert one == two
    assert one["rates"]["OBJECT"]["num_successes"] == NUM_EPISODES
