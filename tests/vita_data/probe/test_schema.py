"""P1 and P7: another form than declared fails in words, a partial download warns."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.vita_data.probe.made import (
    INFO,
    NUM_ROWS,
    Frames,
    answer,
    failed,
    probed,
    with_action,
    with_arm,
)
from vita_data.errors import SourceError
from vita_data.probe import Probe, Verdict
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    Drop,
    Episode,
    Failure,
    JpegFrame,
    Outcome,
    Reason,
    ResizeMode,
    RgbFrame,
)


def test_a_camera_that_no_episode_has_fails_and_one_that_some_lack_warns() -> None:
    info = replace(INFO, cameras={CameraRole.PRIMARY: "front", CameraRole.WRIST_RIGHT: "hand"})

    def sometimes(episode: Episode) -> Episode:
        wrist = {CameraRole.WRIST_RIGHT: Frames()} if episode.id.endswith("0") else {}
        return replace(episode, cameras={**episode.cameras, **wrist})

    missing, partial = probed(info=info), probed(sometimes, info=info)

    assert failed(missing) == [Probe.SCHEMA]
    assert "wrist_right (hand)" in answer(missing, Probe.SCHEMA).meaning
    assert answer(partial, Probe.SCHEMA).verdict is Verdict.WARNING


def no_cameras(episode: Episode) -> Episode:
    return replace(episode, cameras={})


def short_camera(episode: Episode) -> Episode:
    return replace(episode, cameras={CameraRole.PRIMARY: Frames(NUM_ROWS - 1)})


def undeclared_camera(episode: Episode) -> Episode:
    return replace(episode, cameras={**episode.cameras, CameraRole.SECONDARY: Frames()})


def no_arm(episode: Episode) -> Episode:
    return replace(episode, right=None)


def left_arm(episode: Episode) -> Episode:
    return replace(episode, arms=Arms.LEFT, left=episode.right, right=None)


def no_action(episode: Episode) -> Episode:
    return with_arm(episode, action=None)


def commanded(episode: Episode) -> Episode:
    return replace(episode, action_origin=ActionOrigin.COMMANDED)


def unreadable(episode: Episode) -> Failure:
    return Failure(episode=episode.id, detail="state has 6 columns, 7 expected")


def unknown_fault(episode: Episode) -> Outcome:
    raise KeyError("action")


def odd_pictures(episode: Episode) -> Episode:
    class Odd(Frames):
        def read(self, rows: list[int], resize: ResizeMode) -> Iterator[RgbFrame]:
            raise IndexError("list index out of range")

    return replace(episode, cameras={CameraRole.PRIMARY: Odd()})


def damaged(episode: Episode) -> Outcome:
    raise SourceError("ends early")


def all_dropped(episode: Episode) -> Drop:
    return Drop(episode=episode.id, reason=Reason.UNSUCCESSFUL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_cameras, "no primary camera"),
        (short_camera, "59 frames for 60 rows"),
        (undeclared_camera, "camera secondary is not declared"),
        (no_arm, "expected readings of arms right, got none"),
        (left_arm, "expected arms right as declared, got left"),
        (no_action, "no actions for the arm right"),
        (commanded, "expected reached actions as declared, got commanded"),
        (unreadable, "state has 6 columns"),
        (unknown_fault, "unexpected error KeyError"),
        (odd_pictures, "episode part-0#0: part-0#0: cannot be read; unexpected error IndexError"),
        (damaged, "ends early"),
        (all_dropped, "dropped for: unsuccessful"),
    ],
)
def test_another_form_than_declared_fails_the_schema_in_words(change: Callable[[Episode], Outcome], words: str) -> None:
    result = answer(probed(change), Probe.SCHEMA)

    assert result.verdict is Verdict.FAILED
    assert words in result.meaning


def test_values_that_are_not_finite_warn_and_spoil_no_other_probe() -> None:
    def spoiled(episode: Episode) -> Episode:
        assert episode.right is not None
        assert episode.right.xyz_m is not None
        return with_arm(episode, xyz_m=episode.right.xyz_m * np.nan) if episode.id == "part-1#0" else episode

    found = probed(spoiled)

    assert failed(found) == []
    assert "1 of 20 episodes hold NaN" in answer(found, Probe.SCHEMA).meaning
    assert answer(found, Probe.INTEGRATION).verdict is Verdict.HELD
    assert answer(found, Probe.LAG).verdict is Verdict.HELD
    json.dumps(found.report.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["xyz_m", "rotation", "gripper_open", "joint_position_rad"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_value_that_is_not_finite_warns_wherever_it_is(name: str, bad: float) -> None:
    def spoiled(episode: Episode) -> Episode:
        values = np.array(getattr(episode.right, name))
        values[7] = bad
        return with_arm(episode, **{name: values}) if episode.id == "part-1#0" else episode

    found = probed(spoiled)

    assert failed(found) == []
    assert "1 of 20 episodes hold NaN" in answer(found, Probe.SCHEMA).meaning


def test_a_target_that_is_not_finite_warns_too() -> None:
    def spoiled(episode: Episode) -> Episode:
        assert episode.right is not None
        assert episode.right.action is not None
        motion = episode.right.action.motion
        return with_action(episode, motion=replace(motion, rotation=motion.rotation * np.nan))

    assert answer(probed(spoiled), Probe.SCHEMA).verdict is Verdict.WARNING


def test_a_frame_that_does_not_decode_is_a_drop_and_no_other_form() -> None:
    class Torn(Frames):
        def read(self, rows: list[int], resize: ResizeMode) -> Iterator[JpegFrame]:  # type: ignore[override]
            return (JpegFrame(b"") for _ in rows)

    def torn(episode: Episode) -> Episode:
        return replace(episode, cameras={CameraRole.PRIMARY: Torn()}) if episode.id == "part-1#0" else episode

    found = probed(torn)

    assert failed(found) == []
    assert [drop.reason for drop in found.sample.drops] == [Reason.UNDECODABLE]


def test_counts_are_compared_with_published_ones_and_a_partial_download_only_warns() -> None:
    whole = probed(info=replace(INFO, published_episodes={"release 1": 20, "VITA Table 10": 18}))
    partial = probed(info=replace(INFO, published_episodes={"release 1": 2000}))

    assert answer(whole, Probe.COUNTS).verdict is Verdict.HELD
    assert "release 1" in answer(whole, Probe.COUNTS).meaning
    assert answer(partial, Probe.COUNTS).verdict is Verdict.WARNING
    assert answer(partial, Probe.COUNTS).measures[0].value == 20
    assert failed(partial) == []
