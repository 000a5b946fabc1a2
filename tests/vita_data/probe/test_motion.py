"""P2, P4, P5: wrong scales, signs, shifts and rates fail; outliers, gaps and loose controllers do not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.vita_data.probe.made import (
    HZ,
    INFO,
    NUM_ROWS,
    Settings,
    answer,
    deltas_of,
    failed,
    probed,
    scaled,
    shifted,
    with_action,
    with_arm,
)
from vita_data.probe import Probe, Verdict
from vita_data.probe.sample import runs
from vita_data.types import (
    ActionOrigin,
    ActionRange,
    Episode,
    PoseTarget,
)


@pytest.mark.parametrize("factor", [-1.0, 10.0, 0.01], ids=["sign", "too large", "too small"])
@pytest.mark.parametrize("origin", list(ActionOrigin))
def test_deltas_of_another_scale_or_sign_fail_the_integration(factor: float, origin: ActionOrigin) -> None:
    def change(episode: Episode) -> Episode:
        return replace(scaled(factor)(episode), action_origin=origin)

    assert Probe.INTEGRATION in failed(probed(change, info=replace(INFO, action_origin=origin)))


def test_a_slow_hand_that_moves_against_its_commands_fails_the_integration() -> None:
    """Its errors stay below the loose limits in metres, but not below its own path."""

    def slow(episode: Episode) -> Episode:
        assert episode.right is not None
        assert episode.right.xyz_m is not None
        motion = deltas_of(episode)
        moved = with_arm(episode, xyz_m=0.2 * episode.right.xyz_m)
        moved = with_action(moved, motion=replace(motion, xyz_m=-0.2 * motion.xyz_m))
        return replace(moved, action_origin=ActionOrigin.COMMANDED)

    result = answer(probed(slow, info=replace(INFO, action_origin=ActionOrigin.COMMANDED)), Probe.INTEGRATION)

    assert result.verdict is Verdict.FAILED
    assert result.measures[0].value is not None
    assert result.measures[0].value < 0.1


def test_deltas_that_turn_the_other_way_fail_the_integration() -> None:
    def inverted(episode: Episode) -> Episode:
        motion = deltas_of(episode)
        return with_action(episode, motion=replace(motion, rotation=np.swapaxes(motion.rotation, 1, 2)))

    result = answer(probed(inverted), Probe.INTEGRATION)

    assert result.verdict is Verdict.FAILED
    assert result.measures[0].value == pytest.approx(0, abs=1e-9)
    assert result.measures[1].value is not None
    assert result.measures[1].value > 5


def test_targets_that_are_the_present_pose_fail_the_integration() -> None:
    def late(episode: Episode) -> Episode:
        arm = episode.right
        assert arm is not None
        assert arm.xyz_m is not None
        assert arm.rotation is not None
        return with_action(episode, motion=PoseTarget(xyz_m=arm.xyz_m, rotation=arm.rotation))

    assert Probe.INTEGRATION in failed(probed(late))


def test_integration_is_loose_for_commands_and_not_asked_of_a_controller_that_does_not_track() -> None:
    def overshoots(factor: float) -> Callable[[Episode], Episode]:
        return lambda episode: replace(scaled(factor)(episode), action_origin=ActionOrigin.COMMANDED)

    info = replace(INFO, action_origin=ActionOrigin.COMMANDED)

    assert failed(probed(overshoots(1.3), info=info)) == []
    assert answer(probed(scaled(1.5)), Probe.INTEGRATION).verdict is Verdict.FAILED
    simulated = answer(probed(overshoots(4.0), info=replace(info, tracks_commands=False)), Probe.INTEGRATION)
    assert simulated.verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize("rows", [-2, -1, 1, 2])
def test_actions_shifted_against_the_states_fail_the_lag(rows: int) -> None:
    result = answer(probed(shifted(rows)), Probe.LAG)

    assert result.verdict is Verdict.FAILED
    assert result.measures[0].value == -rows


def test_a_lag_that_is_known_of_a_source_holds() -> None:
    info = replace(INFO, action_lag=1)

    assert answer(probed(shifted(-1), info=info), Probe.LAG).verdict is Verdict.HELD
    for rows in (0, 1):
        assert answer(probed(shifted(rows), info=info), Probe.LAG).verdict is Verdict.FAILED


def test_one_outlying_action_in_each_episode_does_not_hide_the_lag() -> None:
    def outlying(episode: Episode) -> Episode:
        motion = deltas_of(episode)
        xyz = motion.xyz_m.copy()
        xyz[7] = 22.0
        return with_action(episode, motion=replace(motion, xyz_m=xyz))

    result = answer(probed(outlying), Probe.LAG)

    assert result.verdict is Verdict.HELD
    assert result.measures[1].value == pytest.approx(1)


def test_rows_on_both_sides_of_a_gap_are_never_compared() -> None:
    """Without regard to the gap the hand would jump 5 m in a step of a tenth of a second."""

    def gap(episode: Episode) -> Episode:
        assert episode.right is not None
        assert episode.right.xyz_m is not None
        assert episode.right.action is not None
        motion = episode.right.action.motion
        far = np.where(np.arange(NUM_ROWS)[:, None] < 30, 0.0, 5.0)
        moved = with_arm(episode, xyz_m=episode.right.xyz_m + far)
        moved = with_action(moved, motion=replace(motion, xyz_m=motion.xyz_m + far))
        return replace(moved, step_index=np.arange(NUM_ROWS) + 9 * (np.arange(NUM_ROWS) >= 30))

    assert runs(np.array([3, 4, 5, 9, 10, 20])) == [(0, 3), (3, 5), (5, 6)]
    assert failed(probed(gap)) == []


@pytest.mark.parametrize("hz", [3.0, 30.0, 200.0])
def test_another_rate_than_joint_velocities_imply_fails(hz: float) -> None:
    result = answer(probed(settings=Settings(hz=hz)), Probe.RATE)

    assert result.verdict is Verdict.FAILED
    assert "hz" in result.settings
    assert result.measures[2].value == pytest.approx(HZ, rel=0.01)


def test_without_joint_velocities_impossible_speeds_fail_and_other_rates_are_told() -> None:
    def unmeasured(episode: Episode) -> Episode:
        return with_arm(episode, joint_velocity_rad_s=None)

    fast, fair = probed(unmeasured, settings=Settings(hz=200.0)), probed(unmeasured)

    assert failed(fast) == [Probe.RATE]
    assert answer(fair, Probe.RATE).verdict is Verdict.HELD
    assert "at 30 Hz" in answer(fair, Probe.RATE).meaning


def test_motion_unlike_the_published_statistics_warns() -> None:
    like = ActionRange(q01=(-0.01,) * 6, q99=(0.01,) * 6)
    unlike = replace(like, q01=(-1.0, *(-0.01,) * 5), q99=(1.0, *(0.01,) * 5))  # type: ignore[arg-type]

    assert answer(probed(info=replace(INFO, published_range=like)), Probe.RATE).verdict is Verdict.HELD
    result = answer(probed(info=replace(INFO, published_range=unlike)), Probe.RATE)
    assert result.verdict is Verdict.WARNING
    assert "dx" in result.meaning
