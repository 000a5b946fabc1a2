"""The README's picture is drawn from what a policy really said."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.overview import main, overview
from vita_model.policy.policy import Decision
from vita_model.policy.preview import Comparison


@pytest.fixture
def comparison():
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (12, 32, 32, 3), np.uint8)
    actions = generator.normal(size=(12, 14)).astype(np.float32) * 0.01
    decision = Decision(
        source="libero", actions=actions, action_mask=np.ones(14, bool), subtasks=(), codes=(3, 90), frames=frames
    )
    return Comparison(
        title="libero clip 'lift the cube' step 9", start=frames[0], true_frames=frames, frame_mask=np.ones(12, bool),
        true_actions=actions, action_mask=np.ones((12, 14), bool), decision=decision,
    )  # fmt: skip


def test_codes_frames_and_actions_change_the_picture(comparison):
    drawn = overview(comparison)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1:] == (1200, 3)
    said = comparison.decision
    for change in ({"codes": (4, 90)}, {"frames": 255 - said.frames}, {"actions": -said.actions}):
        assert not np.array_equal(drawn, overview(replace(comparison, decision=replace(said, **change))))


def test_futures_that_are_not_real_are_left_out(comparison):
    mask = comparison.frame_mask.copy()
    mask[6:] = False
    blank = np.where(mask[:, None, None, None], comparison.true_frames, 0)
    assert np.array_equal(
        overview(replace(comparison, frame_mask=mask)),
        overview(replace(comparison, frame_mask=mask, true_frames=blank)),
    )


def test_a_run_that_is_not_there_is_said_in_one_line(tmp_path, capsys):
    arguments = ["--shards", str(tmp_path), "--run", str(tmp_path / "run"), "--source", "libero"]
    assert main([*arguments, "--out", str(tmp_path / "a.png")]) == 1
    assert capsys.readouterr().err.startswith("overview: ")
