"""The real CALVIN: windows recorded in two scenes, built and replayed there; and an evaluation that is interrupted."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("calvin_env", reason="CALVIN's clones are not on PYTHONPATH (vita_model/README.md, Success rates)")

from tests.vita_model.serving.conftest import running
from tests.vita_model.sims.benchmarks.interruption import results
from vita_data.cli.main import main as data
from vita_data.replay import find_built
from vita_data.slots import RIGHT_STATE, STATE_XYZ, within
from vita_model.serving.options import ServeOptions
from vita_model.sims.benchmarks.calvin_installation import open_scene
from vita_model.sims.benchmarks.calvin_table import CalvinTable
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.cli.main import main as evaluate
from vita_model.sims.replay.calvin import calvin_worlds
from vita_model.sims.replay.clips import replay_clips

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of gym and hydra
]
UP = np.array([0.0, 0.0, 1.0])
CLOSED = -1.0
HAND = within(RIGHT_STATE, STATE_XYZ)
SCENES = {"training": "calvin_scene_A", "validation": "calvin_scene_D"}
TASK, TEXT = "turn_on_led", "press the button to turn on the led light"
FIRST_FRAME = 100


class Recorder:
    """Moves the hand and writes a frame for each command, as CALVIN's recorder does."""

    def __init__(self, table: CalvinTable, folder: Path) -> None:
        self.table, self.folder, self.frame = table, folder, FIRST_FRAME
        self.environment = table._environment
        self.observed = self.environment.reset()
        (folder / "lang_annotations").mkdir(parents=True)

    def go(self, goal: np.ndarray, num_steps: int, turn: float = 0.0) -> None:
        for _ in range(num_steps):
            away = np.clip((goal - self.observed["robot_obs"][:3]) / 0.02 * 0.5, -0.7, 0.7)
            self.step(np.array([*away, 0, 0, turn, CLOSED]))

    def step(self, command: np.ndarray) -> None:
        from calvin_env.utils.utils import to_relative_action

        images = self.table.observe("").images.values()
        observed = self.observed
        self.environment.step(command)
        self.observed = self.environment.get_obs()
        reached = np.append(self.observed["robot_obs"][:6], command[6])
        np.savez(
            self.folder / f"episode_{self.frame:07d}.npz", actions=reached, robot_obs=observed["robot_obs"],
            scene_obs=observed["scene_obs"], rel_actions=to_relative_action(reached, observed["robot_obs"]),
            **dict(zip(("rgb_static", "rgb_gripper"), images, strict=True)),
        )  # fmt: skip
        self.frame += 1

    def finish(self, scene: str) -> None:
        window = (FIRST_FRAME, self.frame - 1)
        labels = {"language": {"ann": [TEXT], "task": [TASK]}, "info": {"indx": [window]}}
        np.save(self.folder / "ep_start_end_ids.npy", np.array([window]))
        np.save(self.folder / "scene_info.npy", np.array({scene: window}, object), allow_pickle=True)
        np.save(self.folder / "lang_annotations" / "auto_lang_ann.npy", np.array(labels, object), allow_pickle=True)


def record(scene: str, folder: Path) -> None:
    """Press the button of a scene, with a turn of the hand on the way."""
    with quiet("CALVIN"):
        table, oracle = open_scene(scene)
        recorder = Recorder(table, folder)
        environment = recorder.environment
        button, before = environment.scene.buttons[0], environment.get_info()
        place = environment.p.getLinkState(button.uid, button.joint_index, physicsClientId=environment.cid)[0]
        recorder.go(np.array(place) + 0.1 * UP, 40, turn=0.3)
        recorder.go(np.array(place) - 0.01 * UP, 25)
        recorder.go(np.array(place) + 0.1 * UP, 10)
        assert oracle.get_task_info(before, environment.get_info()) == {TASK}
        recorder.finish(scene)
        table.close()


def test_windows_are_recorded_built_and_replayed_in_their_scenes(tmp_path, capsys):
    raw, shards = tmp_path / "raw", tmp_path / "shards"
    for split, scene in SCENES.items():
        record(scene, raw / "task_ABC_D" / split)
    assert data(["build", "--source", "calvin", "--raw", str(raw), "--out", str(shards), "--frames", "all"]) == 0
    capsys.readouterr()

    assert evaluate(["replay", "--shards", str(shards), "--raw", str(raw), "--simulator", "calvin", "--quiet"]) == 0
    assert capsys.readouterr().out.split().count("success") == 3 * len(SCENES)  # recorded, raw and product
    (built,) = find_built(shards, str(raw))
    replayed = replay_clips(built, 2, calvin_worlds())
    assert [result.num_steps for result in replayed] == [75, 75]
    assert all(result.raw_off_mm < 10 for result in replayed)


class Pusher:
    """A server's policy without memory: it pushes down where the block table is, and turns with what it sees."""

    metadata: ClassVar = {"convention": "calvin", "constants": {}, "step": 0, "digest": "1", "sources": ["calvin"]}

    def act(self, request):
        place, image = request["observation/state"][HAND], request["observation/image"]
        away = np.clip((np.array([0.1, -0.1, 0.47]) - place) / 0.02 * 0.3, -1, 1)
        return {"actions": np.tile([*away, 0, 0, image.mean() / 255 - 0.5, CLOSED], (12, 1))}


def test_a_served_policy_is_evaluated_interrupted_and_resumed_to_the_same_result(tmp_path):
    with running(Pusher(), ServeOptions()) as port:
        asked = ["calvin", "--num-sequences", "3", "--ep-len", "60", "--renderer", "tiny"]
        one, two = results([*asked, "--policy", f"ws://127.0.0.1:{port}"], tmp_path, "calvin")
    assert one == two
    assert (one["num_chains"], one["renderer"]) == (3, "tiny")
