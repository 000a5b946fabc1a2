"""RoboMIND AgileX: two arms, reversed channels, puppet's poses with the master's joints and gripper, gripper scale."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import ToyMark, read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels
from vita_data.normalize.vectors import state_track
from vita_data.resize import to_square
from vita_data.slots import LEFT_ACTION, LEFT_STATE, RIGHT_ACTION, RIGHT_STATE
from vita_data.sources import robomind_agilex
from vita_data.types import (
    Arm,
    CameraRole,
    Clip,
    Drop,
    Episode,
    Failure,
    Float64,
    Outcome,
    PoseTarget,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
)

CORN = "benchmark1_1_release/h5_agilex_3rgb/20_takecorn_2/success_episodes"
GOOD = f"{CORN}/train/2024_10_08-16_13_09-172910045527931776.00"
STUCK = f"{CORN}/train/2024_10_08-16_20_20-172910088027931776.00"
VAL = f"{CORN}/val/2024_10_08-16_30_30-172910149027931776.00"
SIDES = ["left", "right"]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robomind_agilex")
    robomind_agilex.write_toy(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def outcomes(root: Path, settings: robomind_agilex.Settings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or robomind_agilex.Settings()
    for part in robomind_agilex.parts(raw, settings):
        yield from robomind_agilex.episodes(raw, part, settings)


def outcome(root: Path, id_: str, settings: robomind_agilex.Settings | None = None) -> Outcome:
    found = {one.id if isinstance(one, Episode) else one.episode: one for one in outcomes(root, settings)}
    return found[id_]


def episode(root: Path, id_: str, settings: robomind_agilex.Settings | None = None) -> Episode:
    found = outcome(root, id_, settings)
    assert isinstance(found, Episode), found
    return found


def arm_of(found: Episode, side: str) -> Arm:
    arm = found.left if side == "left" else found.right
    assert arm is not None
    return arm


def raw_values(root: Path, key: str, id_: str = GOOD) -> Float64:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5") as file:
        return np.asarray(file[key][()])


def edit(root: Path, key: str, values: Float64, id_: str = GOOD) -> None:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5", "r+") as file:
        del file[key]
        file[key] = values


def marks(found: Episode, role: CameraRole) -> list[ToyMark]:
    frames = found.cameras[role].read(range(len(found.step_index)), ResizeMode.PLAIN)
    return [read_toy_frame(to_square(rgb_pixels(frame), ResizeMode.PLAIN)) for frame in frames]


def clip(found: Episode) -> Clip:
    settings = robomind_agilex.Settings()
    clips = normalize(found, robomind_agilex.INFO, settings, FrameSelection.KEYFRAMES)
    assert isinstance(clips, tuple), clips
    return clips[0]


@pytest.mark.parametrize("side", SIDES)
def test_each_arm_goes_to_the_pose_that_its_puppet_reached_next(toy: Path, side: str) -> None:
    arm = arm_of(episode(toy, GOOD), side)
    pose = raw_values(toy, f"puppet/end_effector_{side}")

    assert arm.action is not None
    assert isinstance(arm.action.motion, PoseTarget)
    np.testing.assert_array_equal(arm.xyz_m, pose[:-1, :3])
    np.testing.assert_array_equal(arm.action.motion.xyz_m, pose[1:, :3])


@pytest.mark.parametrize("side", SIDES)
def test_joint_targets_and_gripper_are_the_master_s_of_the_same_step(toy: Path, side: str) -> None:
    arm = arm_of(episode(toy, GOOD), side)
    master, puppet = (raw_values(toy, f"{owner}/joint_position_{side}") for owner in ("master", "puppet"))

    assert arm.action is not None
    np.testing.assert_array_equal(arm.action.joint_target_rad, master[:-1, :6])
    np.testing.assert_allclose(arm.action.gripper_open, master[:-1, 6] / 4.79)
    np.testing.assert_array_equal(arm.joint_position_rad, puppet[:-1, :6])
    np.testing.assert_allclose(arm.gripper_open, puppet[:-1, 6] / 4.79)
    assert not np.array_equal(arm.action.gripper_open, arm.gripper_open), "the toy's master closes first"


@pytest.mark.parametrize("side", SIDES)
def test_joint_velocity_is_read_without_the_gripper_column(toy: Path, side: str) -> None:
    arm = arm_of(episode(toy, GOOD), side)

    np.testing.assert_array_equal(arm.joint_velocity_rad_s, raw_values(toy, f"puppet/joint_velocity_{side}")[:-1, :6])


def test_a_large_gripper_reading_is_open_and_the_scale_is_a_setting(root: Path) -> None:
    joints = raw_values(root, "puppet/joint_position_right")
    joints[:5, 6] = [0.0, 2.395, 4.79, 6.0, -0.2]
    edit(root, "puppet/joint_position_right", joints)

    def opening(settings: robomind_agilex.Settings | None = None) -> list[float]:
        found = state_track(episode(root, GOOD, settings))
        assert found is not None
        return found.values[:5, RIGHT_STATE + 9].tolist()

    measured = arm_of(episode(root, GOOD), "right").gripper_open
    assert measured is not None
    assert measured[3] == pytest.approx(6 / 4.79), "a probe must see what is clipped later"
    assert opening() == pytest.approx([0, 0.5, 1, 1, 0])
    assert opening(robomind_agilex.Settings(gripper_open_raw=9.58)) == pytest.approx([0, 0.25, 0.5, 6 / 9.58, 0])


def test_a_scale_of_nothing_is_refused(toy: Path) -> None:
    with pytest.raises(RequestError, match="gripper_open_raw=0: "):
        robomind_agilex.parts(FsspecTree(str(toy)), robomind_agilex.Settings(gripper_open_raw=0))


def test_left_fills_the_left_slots_and_right_the_right_ones(toy: Path) -> None:
    stored = clip(episode(toy, GOOD))

    assert stored.action is not None
    assert stored.state is not None
    for side, action_at, state_at in (("left", LEFT_ACTION, LEFT_STATE), ("right", RIGHT_ACTION, RIGHT_STATE)):
        pose = raw_values(toy, f"puppet/end_effector_{side}")
        np.testing.assert_allclose(stored.state.values[:, state_at : state_at + 3], pose[:-1, :3], atol=1e-6)
        np.testing.assert_allclose(
            stored.action.track.values[:, action_at : action_at + 3], np.diff(pose[:, :3], axis=0), atol=1e-6
        )
        assert stored.action.track.mask[action_at : action_at + 14].tolist() == [True] * 13 + [False]
        assert stored.state.mask[state_at : state_at + 24].sum() == 22


@pytest.mark.parametrize(
    ("role", "camera"), [(CameraRole.PRIMARY, 0), (CameraRole.WRIST_LEFT, 1), (CameraRole.WRIST_RIGHT, 2)]
)
def test_frames_are_rgb_although_a_plain_decoder_shows_red_as_blue(toy: Path, role: CameraRole, camera: int) -> None:
    """Step 30 of the front camera is a bare buffer, which is RGB as it lies."""
    found = episode(toy, GOOD)
    seen = marks(found, role)

    assert [mark.step for mark in seen] == found.step_index.tolist()
    assert all(mark.rgb and mark.upright for mark in seen)
    assert {mark.camera for mark in seen} == {camera}
    assert all(isinstance(frame, RgbFrame) for frame in found.cameras[role].read([0, 30], ResizeMode.PLAIN))


def test_a_torn_frame_drops_the_episode_as_undecodable(root: Path) -> None:
    with h5py.File(root / GOOD / "data" / "trajectory.hdf5", "r+") as file:
        images = file["observations/rgb_images/camera_left_wrist"]
        images[0] = images[0][:200]
    dropped = normalize(episode(root, GOOD), robomind_agilex.INFO, robomind_agilex.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.UNDECODABLE


def test_one_stuck_arm_of_two_drops_the_episode(toy: Path) -> None:
    found = outcome(toy, STUCK)

    assert isinstance(found, Drop)
    assert found.reason is Reason.STUCK_EEF


def test_an_idle_arm_is_not_stuck(root: Path) -> None:
    joints = raw_values(root, "puppet/joint_position_left", STUCK)
    joints[:, :6] = joints[0, :6]
    edit(root, "puppet/joint_position_left", joints, STUCK)

    assert isinstance(outcome(root, STUCK), Episode)


def test_a_missing_wrist_camera_is_left_out_and_a_missing_front_camera_drops(root: Path) -> None:
    with h5py.File(root / GOOD / "data" / "trajectory.hdf5", "r+") as file:
        del file["observations/rgb_images/camera_left_wrist"]
    assert set(episode(root, GOOD).cameras) == {CameraRole.PRIMARY, CameraRole.WRIST_RIGHT}
    with h5py.File(root / GOOD / "data" / "trajectory.hdf5", "r+") as file:
        num_steps = len(file["observations/rgb_images/camera_front"])
        file.create_dataset("observations/rgb_images/camera_left_wrist", (num_steps,), dtype=h5py.vlen_dtype(np.uint8))
    assert set(episode(root, GOOD).cameras) == {CameraRole.PRIMARY, CameraRole.WRIST_RIGHT}, "every entry is empty"
    with h5py.File(root / GOOD / "data" / "trajectory.hdf5", "r+") as file:
        del file["observations/rgb_images/camera_front"]
    dropped = normalize(episode(root, GOOD), robomind_agilex.INFO, robomind_agilex.Settings(), FrameSelection.KEYFRAMES)
    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.NO_CAMERA


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("master/joint_position_left", "master/joint_position_left has 61 steps but end_effector has 62"),
        ("puppet/joint_velocity_right", "puppet/joint_velocity_right has 61 steps but end_effector has 62"),
    ],
)
def test_readings_of_another_length_fail_the_episode(root: Path, key: str, said: str) -> None:
    edit(root, key, raw_values(root, key)[:-1])
    found = outcome(root, GOOD)

    assert isinstance(found, Failure)
    assert said in found.detail


def test_arms_of_different_length_fail_the_episode(root: Path) -> None:
    for key in ("puppet/end_effector", "puppet/joint_position", "puppet/joint_velocity", "master/joint_position"):
        edit(root, f"{key}_left", raw_values(root, f"{key}_left")[:-1])
    found = outcome(root, GOOD)

    assert isinstance(found, Failure)
    assert "the two arms have 62 and 61 steps" in found.detail


def test_nan_of_the_master_drops_the_episode(root: Path) -> None:
    master = raw_values(root, "master/joint_position_left")
    master[3, 2] = np.nan
    edit(root, "master/joint_position_left", master)
    dropped = normalize(episode(root, GOOD), robomind_agilex.INFO, robomind_agilex.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.NONFINITE


def test_split_text_provenance_and_scale_are_told(toy: Path) -> None:
    found = episode(toy, VAL)

    assert found.split is Split.VAL
    assert found.instructions[0].text.startswith("pick up the corn on the left,put the corn")
    assert found.provenance["task"] == "20_takecorn_2"
    assert found.extras == {"gripper_open_raw": 4.79}
    assert any("reached" in note and "master" in note for note in robomind_agilex.INFO.notes)


def test_settings_of_another_source_are_a_mistake_of_the_program(toy: Path) -> None:
    raw = FsspecTree(str(toy))
    part = robomind_agilex.parts(raw, robomind_agilex.Settings())[0]
    with pytest.raises(TypeError, match="expected the Settings of robomind_agilex"):
        robomind_agilex.episodes(raw, part, SourceSettings())
