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


def test_both_flipped_warns_and_without_a_width_the_start_decides() -> None:
    def no_width(episode: Episode) -> Episode:
        return with_arm(episode, gripper_open=None)

    both = probed(lambda episode: flipped_state(flipped_command(episode)))

    assert answer(both, Probe.GRIPPER).verdict is Verdict.WARNING
    assert answer(probed(no_width), Probe.GRIPPER).verdict is Verdict.HELD
    assert failed(probed(lambda episode: no_width(flipped_command(episode)))) == [Probe.GRIPPER]
