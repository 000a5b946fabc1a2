"""The tabletop: repeatable, solved by the expert, drawn where things are, and read by the source libero."""

from pathlib import Path

import numpy as np
import pytest

from vita_data.builder import BuildRequest, build
from vita_data.dataset import BuiltSource
from vita_data.normalize import FrameSelection
from vita_data.sources import load
from vita_data.types import CameraRole
from vita_model.sims.cli.main import main
from vita_model.sims.scripted.task import no_op
from vita_model.sims.tabletop.task import TASKS, TabletopTask

RED = np.array([1.0, -0.5, -0.5])


def solved(task: TabletopTask, seed: int) -> int:
    """Return the number of steps that the expert needs."""
    task.reset(seed)
    for step in range(task.spec.max_steps):
        if task.is_success:
            return step
        task.step(task.spec.expert(task.scene()))
    raise AssertionError(f"{task.spec.name}, seed {seed}: not solved")


@pytest.mark.parametrize("name", TASKS)
def test_the_expert_lifts_the_cube_that_the_instruction_names(name: str) -> None:
    task = TabletopTask(TASKS[name])
    for seed in range(20):
        assert 5 < solved(task, seed) < 60
        heights = task.simulator_state()[6:].reshape(-1, 3)[:, 2]
        assert heights[0] > heights[1:].max() + 0.03


def test_an_episode_depends_on_its_seed_and_commands_alone() -> None:
    first, second = TabletopTask(TASKS["lift_red"]), TabletopTask(TASKS["lift_red"])
    solved(second, 5)
    for task in (first, second):
        task.reset(3)
        for _ in range(4):
            task.step(np.array([0.3, -1.0, -0.5, 0, 0, 0, 1.0]))
    assert np.array_equal(first.simulator_state(), second.simulator_state())
    for role, image in first.images().items():
        assert np.array_equal(image, second.images()[role])
    first.reset(4)
    assert not np.array_equal(first.simulator_state(), second.simulator_state())


def test_a_cube_follows_the_closed_hand_and_falls_when_it_opens() -> None:
    task = TabletopTask(TASKS["lift_blue"])
    solved(task, 0)
    for _ in range(3):
        task.step(no_op())
    assert not task.is_success
    assert task.simulator_state()[8] == pytest.approx(0.825)


def test_closing_beside_the_cube_catches_nothing() -> None:
    task = TabletopTask(TASKS["lift_red"])
    task.reset(0)
    for _ in range(12):
        task.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert not task.scene().cube_held
    assert task.scene().finger_width_m == 0.0


def test_pictures_are_upside_down_and_show_the_cube_where_it_is() -> None:
    task = TabletopTask(TASKS["lift_red"])
    places = []
    for seed in range(8):
        task.reset(seed)
        picture = task.images()[CameraRole.PRIMARY][::-1]
        assert picture.shape == (128, 128, 3)
        assert picture[:10].mean() > picture[-10:].mean()  # the bright wall is above
        red = picture.astype(float) @ RED > 60
        assert red.sum() > 12
        rows, columns = np.nonzero(red)
        cube = task.scene().cube_xyz_m
        places.append((cube[1], columns.mean(), cube[0], rows.mean()))
    right, column, near, row = np.array(places).T
    assert np.corrcoef(right, column)[0, 1] > 0.95
    assert np.corrcoef(near, row)[0, 1] > 0.95


def test_recordings_are_built_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = ["tabletop", "record", "--task", "lift_red", "--num-demos", "3"]
    for folder in ("raw", "again"):
        assert main([*record, "--out", str(tmp_path / folder)]) == 0
    assert "the expert succeeded in 100.0 % of 3 episodes" in capsys.readouterr().out
    settings = load("libero").Settings()
    build(
        BuildRequest(
            source="libero", raw=str(tmp_path / "raw"), out=tmp_path / "shards", settings=settings,
            frames=FrameSelection.ALL,
        )
    )  # fmt: skip
    clips = [*BuiltSource(tmp_path / "shards" / "libero"), *BuiltSource(tmp_path / "shards" / "libero", split="val")]
    assert len(clips) == 3
    assert {clip.instruction for clip in clips} == {"lift the red cube"}
    for clip in clips:
        picture = clip.frames("primary")[0]
        assert picture[:20].mean() > picture[-20:].mean()
        assert clip.action is not None
        assert clip.action[0, 22] == 1.0
        assert clip.action[-1, 22] == 0.0
    evaluate = ["tabletop", "evaluate", "--task", "lift_red", "--policy", "random", "--out", str(tmp_path / "out")]
    assert main([*evaluate, "--episodes", "2", "--max-steps", "8"]) == 0
    assert "expert  0/2" in capsys.readouterr().out
    assert (tmp_path / "out" / "rollouts.mp4").stat().st_size > 1000
