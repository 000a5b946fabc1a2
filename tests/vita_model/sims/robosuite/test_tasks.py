"""The real simulator, where it is installed: its episodes repeat, its experts work, and the whole path runs once."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite 1.4.0 is not installed (vita_model/README.md, Success rates)")

from tests.vita_model.sims.benchmarks.interruption import results
from vita_data.cli.main import main as data
from vita_model.cli import main as train
from vita_model.sims.cli.main import main as evaluate
from vita_model.sims.robosuite.tasks import CAMERAS, IMAGE_SIZE, TASKS, RobosuiteTask

RECIPES = Path(__file__).parents[4] / "pipelines" / "recipes"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # robosuite's and numba's own
]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_expert_succeeds_and_the_same_seed_is_the_same_episode(name):
    with closing(RobosuiteTask(TASKS[name])) as task:
        ends = []
        for seed in (1, 2, 1):
            task.reset(seed)
            first = task.images()
            for _ in range(task.spec.max_steps):
                task.step(task.spec.expert(task.scene()))
            assert task.is_success
            ends.append((first, task.simulator_state()))
    assert set(ends[0][0]) == set(CAMERAS)
    assert all(image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and image.std() > 5 for image in ends[0][0].values())
    np.testing.assert_array_equal(ends[0][1], ends[2][1])
    assert not np.array_equal(ends[0][1], ends[1][1])
    for role in CAMERAS:
        np.testing.assert_array_equal(ends[0][0][role], ends[2][0][role])


def test_from_demonstrations_to_an_evaluated_episode(tmp_path):
    """A few steps a stage: nothing is asked of the success, everything of the path."""
    raw, shards, runs = (str(tmp_path / name) for name in ("raw", "shards", "runs"))
    assert evaluate(["robosuite", "record", "--task", "lift", "--out", raw, "--num-demos", "3"]) == 0
    assert data(["build", "--source", "libero", "--raw", raw, "--out", shards, "--frames", "all"]) == 0
    assert data(["verify", f"{shards}/libero"]) == 0
    before = ["--set", "codebook.continuous_updates=0"]
    # the codebook is filled by the first 128 encodings; so short a warmup would end in the continuous phase
    for stage, steps, size in (("warmup", 10, 32), ("cotrain", 2, 4), ("finetune", 2, 4)):
        few = ["--steps", str(steps), "--set", f"batch_size={size}", "--set", "eval_batches=0", *before]
        assert train([str(RECIPES / f"lift_{stage}.py"), "--shards", shards, "--out", f"{runs}/{stage}", *few]) == 0
        before = ["--set", f"init={runs}/{stage}"]
    out = tmp_path / "evaluation"
    asked = ["robosuite", "evaluate", "--task", "lift", "--policy", f"{runs}/finetune", "--out", str(out)]
    assert evaluate([*asked, "--episodes", "1", "--max-steps", "12"]) == 0

    result = json.loads((out / "result.json").read_text())
    assert result["policy"]["convention"] == "libero"
    assert result["policy"]["constants"]["flip"] == "rot180"
    assert result["episodes"][0]["num_steps"] == 12
    assert (out / "rollouts.jpg").stat().st_size > 1000


def test_workers_and_an_interruption_change_nothing(tmp_path):
    asked = ["robosuite", "evaluate", "--task", "lift", "--policy", "random", "--episodes", "3", "--max-steps", "15"]
    asked += ["--latency-ms", "50", "--execution", "asynchronous", "--video"]
    whole, parts = results(asked, tmp_path, "result")
    assert evaluate([*asked, "--workers", "2", "--out", str(tmp_path / "shared"), "--quiet"]) == 0

    assert whole == parts == json.loads((tmp_path / "shared" / "result.json").read_text())
    assert whole["versions"]["robosuite"] == "1.4.0"
    for name in ("rollouts.jpg", "rollouts.mp4", "videos/policy-1000002.mp4"):
        found = [(tmp_path / folder / name).read_bytes() for folder in ("whole", "parts", "shared")]
        assert found[0] == found[1] == found[2]
