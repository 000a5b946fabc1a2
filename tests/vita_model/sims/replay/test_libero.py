"""LIBERO at a recorded state: fixtures in their recorded places, and a controller that knows where the arm is."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vita_data.errors import VitaDataError
from vita_model.policy.interfaces import PolicyInfo
from vita_model.sims.benchmarks.libero_fixtures import place_fixtures
from vita_model.sims.benchmarks.libero_task import LiberoTask
from vita_model.sims.cli.main import main

MODEL = """<mujoco><worldbody>
<body name="table" pos="9 9 9"><body name="cabinet_main" pos="0.1 -0.2 0.3" quat="0 0 0 1"/></body>
<body name="stove_main"/>
</worldbody></mujoco>"""


class Inner:
    """Stands in for LIBERO's inner environment while a state is restored; has two fixtures and logs its calls."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.numbers = {"table": 0, "stove_main": 1, "cabinet_main": 2}
        names = ("cabinet_main", "stove_main")
        self.fixtures_dict = {name: SimpleNamespace(root_body=name) for name in names}
        model = SimpleNamespace(
            body_pos=np.full((3, 3), 7.0), body_quat=np.full((3, 4), 7.0), body_name2id=self.numbers.__getitem__
        )
        self.sim = SimpleNamespace(model=model)
        controller = SimpleNamespace(
            update=lambda force: self.log.append(("update", force)), reset_goal=lambda: self.log.append("goal")
        )
        self.robots = [SimpleNamespace(controller=controller)]
        names = ("agentview_image", "robot0_eye_in_hand_image")
        self._observables = {name: SimpleNamespace(_sensor=lambda cache: None) for name in names}

    def reset(self) -> None:
        self.log.append("reset")


class Environment:
    """Its wrapper."""

    def __init__(self) -> None:
        self.env = Inner()

    def seed(self, seed: int) -> None:
        self.env.log.append(("seed", seed))

    def set_init_state(self, state: Any) -> dict[str, Any]:
        self.env.log.append(("state", state.tolist(), self.env.sim.model.body_pos[2].tolist()))
        return {"robot0_eef_pos": [0.1, 0.2, 0.3]}


def test_fixtures_stand_where_the_recording_has_them() -> None:
    inner = Inner()
    place_fixtures(inner, MODEL)

    assert inner.sim.model.body_pos.tolist() == [[7, 7, 7], [0, 0, 0], [0.1, -0.2, 0.3]]
    assert inner.sim.model.body_quat.tolist() == [[7, 7, 7, 7], [1, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (None, r"attribute model_file\), which has the places of cabinet_main, stove_main"),
        ("<mujoco/>", "expected a body cabinet_main; is this a recording of the same task"),
        ("<mujoco>", r"expected MuJoCo's XML \(no element found"),
        (MODEL.replace("0.1 -0.2 0.3", "0.1 -0.2"), "expected 3 numbers, got '0.1 -0.2'"),
    ],
)
def test_a_recording_without_their_places_is_one_sentence(model: str | None, told: str) -> None:
    with pytest.raises(VitaDataError, match=told):
        place_fixtures(Inner(), model)


def test_no_model_is_needed_without_fixtures() -> None:
    place_fixtures(SimpleNamespace(fixtures_dict={}), None)


def test_the_controller_is_told_of_a_restored_state(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = SimpleNamespace(RandomizationError=RuntimeError)
    monkeypatch.setitem(sys.modules, "robosuite.utils.errors", errors)
    environment = Environment()
    task = LiberoTask(environment, np.zeros((0, 0)), "open it", PolicyInfo(name="replay", convention="libero"))
    task.restore(np.array([1.0, 2.0]), MODEL)

    state = ("state", [1.0, 2.0], [0.1, -0.2, 0.3])
    assert environment.env.log == [("seed", 7), "reset", state, ("update", True), "goal"]
    assert task.hand_m().tolist() == [0.1, 0.2, 0.3]
    assert not task.is_success


def test_an_installation_that_is_missing_is_one_sentence(
    toy_raw: Path, toy_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["replay", "--shards", str(toy_shards / "libero"), "--raw", str(toy_raw / "libero"), "--quiet"]
    assert main([*asked, "--simulator", "libero"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vita-eval: LIBERO: ")  # the package, or its assets
    assert "not found" in last
