"""P3: a gripper that is read upside down fails, slow fingers do not."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.vita_data.probe.made import (
    NUM_ROWS,
    answer,
    failed,
    flipped_command,
    flipped_state,
    probed,
    with_action,
    with_arm,
)
from vita_data.probe import Probe, Verdict
from vita_data.types import (
    Episode,
)


@pytest.mark.parametrize("change", [flipped_command, flipped_state])
def test_a_gripper_read_upside_down_fails_and_names_its_setting(change: Callable[[Episode], Episode]) -> None:
    found = probed(change)

    assert failed(found) == [Probe.GRIPPER]
    assert answer(found, Probe.GRIPPER).settings == ("gripper_open_raw",)


def test_fingers_that_follow_after_half_a_second_do_not_hide_the_polarity() -> None:
    """A short grasp is over before the fingers have closed: at the same row the two do not go together."""

    def slow(episode: Episode) -> Episode:
        command = np.ones(NUM_ROWS)
        command[28:32] = 0.0
        return with_arm(with_action(episode, gripper_open=command), gripper_open=np.roll(command, 5))

    assert answer(probed(slow), Probe.GRIPPER).verdict is Verdict.HELD
    assert failed(probed(lambda episode: flipped_state(slow(episode)))) == [Probe.GRIPPER]


def scaled(factor: float) -> Callable[[Episode], Episode]:
    """A gripper whose open reading is `factor` times the one that is set."""

    def change(episode: Episode) -> Episode:
        assert episode.right is not None
        assert episode.right.action is not None
        assert episode.right.gripper_open is not None
        command, opening = factor * episode.right.action.gripper_open, factor * episode.right.gripper_open
        return with_arm(with_action(episode, gripper_open=command), gripper_open=opening)

    return change


@pytest.mark.parametrize(("factor", "words"), [(0.3, "set too high"), (0.1, "set too high"), (1.2, "set too low")])
def test_a_gripper_of_another_scale_fails_and_names_its_setting(factor: float, words: str) -> None:
    result = answer(probed(scaled(factor)), Probe.GRIPPER)

    assert result.verdict is Verdict.FAILED
    assert words in result.meaning
    assert "--set gripper_open_raw=" in result.advice


@pytest.mark.parametrize("factor", [0.9, 1.03])
def test_a_scale_that_is_nearly_right_holds(factor: float) -> None:
    assert answer(probed(scaled(factor)), Probe.GRIPPER).verdict is Verdict.HELD


def test_both_flipped_fails_where_nearly_all_start_closed_and_else_warns() -> None:
    def flipped(episode: Episode) -> Episode:
        return flipped_state(flipped_command(episode))

    def mostly(episode: Episode) -> Episode:
        return episode if episode.id.endswith("0") else flipped(episode)

    assert failed(probed(flipped)) == [Probe.GRIPPER]
    assert "both have the wrong sign" in answer(probed(flipped), Probe.GRIPPER).meaning
    assert answer(probed(mostly), Probe.GRIPPER).verdict is Verdict.WARNING


def test_without_a_width_the_start_decides() -> None:
    def no_width(episode: Episode) -> Episode:
        return with_arm(episode, gripper_open=None)

    assert answer(probed(no_width), Probe.GRIPPER).verdict is Verdict.HELD
    assert failed(probed(lambda episode: no_width(flipped_command(episode)))) == [Probe.GRIPPER]
