"""An episode becomes clips or a drop with its reason; vectors land in their slots with their masks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.normalize import EpisodeDroppedError, FrameSelection, iter_clips, normalize
from vita_data.normalize.spool import Spool, SpooledBytes
from vita_data.normalize.vectors import row_ranges, valid_rows
from vita_data.shards.schema import clip_members
from vita_data.slots import RIGHT_ACTION
from vita_data.sources import load
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    Base,
    CameraRole,
    Clip,
    Drop,
    Episode,
    Instruction,
    JpegFrame,
    Modality,
    PoseDelta,
    PoseTarget,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
    Track,
)

INFO = load("bridge").INFO


class Frames:
    def __init__(self, num_frames: int, *, black: bool = False, damaged: int | None = None) -> None:
        self.num_frames = num_frames
        self.black, self.damaged = black, damaged

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        for row in rows:
            if row == self.damaged:
                yield JpegFrame(b"\xff\xd8 no picture")
            elif self.black:
                yield RgbFrame(np.zeros((64, 64, 3), np.uint8))
            else:
                yield RgbFrame(toy_frame(64, 64, step=row))


def episode(num_rows: int = 30, **changes: object) -> Episode:
    arm = toy_arm(num_rows + 1, hz=5.0, seed=1)
    target = PoseTarget(xyz_m=arm.xyz_m[1:], rotation=arm.rotation[1:])
    right = Arm(
        xyz_m=arm.xyz_m[:-1],
        rotation=arm.rotation[:-1],
        gripper_open=arm.gripper_open[:-1],
        joint_position_rad=arm.joint_position_rad[:-1, :6],
        action=ArmAction(motion=target, gripper_open=arm.gripper_open[:-1]),
    )
    made = Episode(
        id="episode-1",
        source="bridge",
        release="r",
        split=Split.TRAIN,
        embodiment="widowx",
        arms=Arms.RIGHT,
        hz=5.0,
        step_index=np.arange(num_rows),
        instructions=(Instruction(text="put the cup down", origin="human"),),
        cameras={CameraRole.PRIMARY: Frames(num_rows)},
        right=right,
        action_origin=ActionOrigin.REACHED,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def run(made: Episode, frames: FrameSelection = FrameSelection.KEYFRAMES) -> tuple[Clip, ...] | Drop:
    return normalize(made, INFO, SourceSettings(), frames)


def one(made: Episode) -> Clip:
    found = run(made)
    assert isinstance(found, tuple)
    (clip,) = found
    return clip


def reason(made: Episode) -> Reason:
    found = run(made)
    assert isinstance(found, Drop)
    return found.reason


def test_a_single_arm_is_the_right_one_and_the_left_is_masked_zero() -> None:
    clip = one(episode())

    assert clip.action is not None
    assert clip.state is not None
    assert np.flatnonzero(clip.action.track.mask).tolist() == list(range(16, 23))
    assert np.flatnonzero(clip.state.mask).tolist() == list(range(24, 40))
    assert not clip.action.track.values[:, :16].any()
    assert clip.modality is Modality.PAIRED


def test_gripper_columns_are_clipped_openings() -> None:
    made = episode()
    assert made.right is not None
    clip = one(replace(made, right=replace(made.right, gripper_open=np.full(30, 1.2))))

    assert clip.state is not None
    np.testing.assert_array_equal(clip.state.values[:, 33], 1.0)


def test_a_moving_base_has_its_own_slots() -> None:
    clip = one(episode(base=Base(pose=np.ones((30, 3)), delta=np.full((30, 3), 0.1))))

    assert clip.action is not None
    assert clip.state is not None
    np.testing.assert_allclose(clip.action.track.values[:, 32:35], 0.1)
    np.testing.assert_allclose(clip.state.values[:, 48:51], 1.0)


def test_images_are_stored_on_the_stride_or_for_every_row() -> None:
    keyframes, everything = run(episode()), run(episode(), FrameSelection.ALL)

    assert isinstance(keyframes, tuple)
    assert isinstance(everything, tuple)
    assert [frame.row for frame in keyframes[0].frames[CameraRole.PRIMARY]] == [0, 5, 10, 15, 20, 25]
    assert len(everything[0].frames[CameraRole.PRIMARY]) == 30
    assert everything[0].keyframes == keyframes[0].keyframes


@pytest.mark.parametrize(("num_bad", "expected"), [(1, ((0, 7), (8, 30))), (2, None)])
def test_outlier_rows_are_marked_and_too_many_drop_the_episode(num_bad: int, expected: object) -> None:
    made = episode()
    assert made.right is not None
    assert made.right.action is not None
    motion = made.right.action.motion
    xyz = motion.xyz_m.copy()
    xyz[7 : 7 + num_bad] += 1.0
    action = replace(made.right.action, motion=replace(motion, xyz_m=xyz))
    made = replace(made, right=replace(made.right, action=action))

    if expected is None:
        assert reason(made) is Reason.OUTLIERS
    else:
        clip = one(made)
        assert clip.action is not None
        assert clip.action.valid == expected
        assert clip.action.track.values[7, 16] > 0.5


def test_a_value_that_is_no_number_drops_the_episode_even_inside_a_rotation() -> None:
    made = episode()
    assert made.right is not None
    assert made.right.rotation is not None
    rotation = made.right.rotation.copy()
    rotation[3, 0, 0] = np.nan

    assert reason(replace(made, right=replace(made.right, rotation=rotation))) is Reason.NONFINITE


@pytest.mark.parametrize("value", [1e39, -1e308])
@pytest.mark.parametrize("slot", ["xyz_m", "joint_position_rad"])
@pytest.mark.filterwarnings("error")
def test_numbers_that_are_infinite_as_stored_are_dropped(value: float, slot: str) -> None:
    """Before, infinity was stored, and computing the statistics ended the whole build with a traceback."""
    made = episode()
    assert made.right is not None
    numbers = np.zeros((30, 7)) if slot == "joint_position_rad" else np.array(made.right.xyz_m)
    numbers[3, 0] = value
    assert reason(replace(made, right=replace(made.right, **{slot: numbers}))) is Reason.NONFINITE


@pytest.mark.filterwarnings("error")
def test_motion_that_is_finite_only_as_float32_is_an_outlier_without_a_warning() -> None:
    made = episode()
    assert made.right is not None
    assert made.right.action is not None
    motion = PoseDelta(xyz_m=np.full((30, 3), 1e30), rotation=np.tile(np.eye(3), (30, 1, 1)))
    assert reason(replace(made, right=replace(made.right, action=replace(made.right.action, motion=motion)))) is (
        Reason.OUTLIERS
    )


def test_drops_have_their_reasons() -> None:
    assert reason(episode(12)) is Reason.SHORT
    assert isinstance(run(episode(13)), tuple)
    assert reason(episode(instructions=(Instruction(text="", origin="human"),))) is Reason.EMPTY
    assert reason(episode(cameras={CameraRole.WRIST_RIGHT: Frames(30)})) is Reason.NO_CAMERA
    dropped = run(episode(cameras={CameraRole.WRIST_RIGHT: Frames(30)}))
    assert isinstance(dropped, Drop)
    assert dropped.detail.startswith("no primary camera, expected ")
    assert dropped.detail.endswith("; found wrist_right")
    assert reason(episode(cameras={CameraRole.PRIMARY: Frames(30, black=True)})) is Reason.BLACK
    assert reason(episode(cameras={CameraRole.PRIMARY: Frames(30, damaged=10)})) is Reason.UNDECODABLE


class BlackJpegs:
    """JPEG frames of `size`, black but for the places in `lit`."""

    def __init__(self, num_frames: int, *, size: int, lit: set[int]) -> None:
        self.num_frames, self.size, self.lit = num_frames, size, lit

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        for row in rows:
            level = 200 if row in self.lit else 0
            yield JpegFrame(simplejpeg.encode_jpeg(np.full((self.size, self.size, 3), level, np.uint8)))


def test_every_frame_that_is_decoded_anyway_counts_as_black_or_not() -> None:
    """First, middle and last are lit: the others are seen too where frames are resized, not where they pass."""
    lit = {0, 15, 29}
    for size, expected in ((128, Reason.BLACK), (256, None)):
        cameras = {CameraRole.PRIMARY: BlackJpegs(30, size=size, lit=lit)}
        found = run(episode(cameras=cameras), FrameSelection.ALL)
        assert (found.reason if isinstance(found, Drop) else None) is expected


def test_passed_through_frames_are_black_by_their_first_middle_and_last() -> None:
    cameras = {CameraRole.PRIMARY: BlackJpegs(30, size=256, lit=set(range(30)) - {0, 15})}
    found = run(episode(cameras=cameras), FrameSelection.ALL)

    assert isinstance(found, Drop)
    assert found.reason is Reason.BLACK
    assert "2 of 3" in found.detail


def test_a_turn_is_limited_by_its_angle_not_by_each_axis() -> None:
    values, mask = np.zeros((4, 40), np.float32), np.zeros(40, bool)
    mask[RIGHT_ACTION : RIGHT_ACTION + 6] = True
    values[1, RIGHT_ACTION + 3 : RIGHT_ACTION + 6] = 0.7
    values[2, RIGHT_ACTION + 5] = 0.99
    values[3, RIGHT_ACTION + 4] = -1.01

    valid = valid_rows(Track(values=values, mask=mask), max_step_m=0.3, max_step_rad=1.0)

    assert valid.tolist() == [True, False, True, False]


def test_a_source_without_a_split_is_split_by_the_hash_of_its_group() -> None:
    splits = [one(episode(split=None, id=f"{number}")).split for number in range(200)]
    together = {one(episode(split=None, id=f"{number}", split_group="video")).split for number in range(20)}

    assert 0 < splits.count(Split.VAL) < 30
    assert len(together) == 1


def test_an_episode_beyond_600_s_becomes_numbered_clips() -> None:
    num_rows = 3100
    found = run(episode(num_rows, step_index=np.arange(num_rows), right=None, action_origin=None))

    assert isinstance(found, tuple)
    assert [clip.key[-3:] for clip in found] == ["-00", "-01"]
    assert [clip.num_steps for clip in found] == [3000, 100]
    assert {clip.episode for clip in found} == {"episode-1"}
    assert found[1].step_index[0] == 3000
    assert found[1].keyframes[:2] == (0, 5)


def test_a_later_clip_may_void_those_yielded_before() -> None:
    num_rows = 3100
    made = episode(num_rows, cameras={CameraRole.PRIMARY: Frames(num_rows, damaged=3005)})
    clips = iter_clips(made, INFO, SourceSettings(), FrameSelection.KEYFRAMES)

    assert next(clips).key.endswith("-00")
    with pytest.raises(EpisodeDroppedError) as caught:
        next(clips)
    assert caught.value.drop.reason is Reason.UNDECODABLE
    assert run(made) == caught.value.drop


def test_a_clip_whose_images_lie_in_a_file_is_written_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    made = episode(cameras={role: Frames(30) for role in (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)})
    in_memory = list(clip_members(one(made)))
    monkeypatch.setattr(Spool.__init__, "__defaults__", (20_000,))
    clip = one(made)

    kinds = {type(frame.data) for frames in clip.frames.values() for frame in frames}
    assert kinds == {bytes, SpooledBytes}
    assert list(clip_members(clip)) == in_memory
    assert [name for name, _ in in_memory] == sorted(name for name, _ in in_memory)


def test_row_ranges_are_half_open() -> None:
    assert row_ranges(np.array([True, False, True, True])) == ((0, 1), (2, 4))
    assert row_ranges(np.zeros(3, bool)) == ()
    assert row_ranges(np.ones(3, bool)) == ((0, 3),)
    assert row_ranges(np.ones(0, bool)) == ()
