"""An instruction is in doubt only where it is plain about grippers and the actions lack what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vita_data
from vita_data.curation.text_motion import text_doubt
from vita_data.types import Clip, Instruction, Track

ROWS = 20


def clip(built: Path, text: str, gripper: np.ndarray, *, valid: int = ROWS) -> Clip:
    found = vita_data.open_source(built / "bridge")[0].clip
    assert found.action is not None
    values = np.zeros((ROWS, 40), np.float32)
    values[:, 22] = gripper
    action = replace(found.action, track=Track(values=values, mask=found.action.track.mask), valid=((0, valid),))
    return replace(found, action=action, instruction=Instruction(text=text, origin="human"))


OPEN, CLOSED = np.ones(ROWS), np.zeros(ROWS)
CLOSES = np.where(np.arange(ROWS) < 10, 1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "gripper", "told"),
    [
        ("pick up the cup", OPEN, "says pick, but no gripper closes"),
        ("pick up the cup", CLOSES, ""),
        ("pick up the cup", CLOSED, ""),
        ("Lifting the lid", OPEN, "says lift, but no gripper closes"),
        ("put the cup down", CLOSED, "says put, but no gripper opens"),
        ("put the cup down", CLOSES, ""),
        ("push the cup", OPEN, ""),
        ("open the picket gate", OPEN, ""),
        ("", OPEN, ""),
    ],
)
def test_a_text_is_compared_with_the_grippers(built: Path, text: str, gripper: np.ndarray, told: str) -> None:
    assert text_doubt(clip(built, text, gripper), 0.0) == told


def test_rows_that_are_not_learned_from_and_missing_actions_are_no_evidence(built: Path) -> None:
    assert text_doubt(clip(built, "pick up the cup", CLOSES, valid=10), 0.0) == "says pick, but no gripper closes"
    assert text_doubt(clip(built, "push the cup", OPEN), 1.0) == "nothing moves"
    assert text_doubt(replace(clip(built, "pick up the cup", OPEN), action=None), None) == ""
