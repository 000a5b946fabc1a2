"""RoboMIND Franka: reached poses of the puppet, polarity, colours, missing cameras, stuck poses, texts, damage."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import ToyMark, read_toy_frame, toy_frame
from vita_data.geometry import matrix_from_euler_xyz
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels, to_square
from vita_data.slots import RIGHT_ACTION, RIGHT_STATE
from vita_data.sources import robomind_franka
from vita_data.sources._shared.robomind.frames import FrameBytes
from vita_data.sources._shared.robomind.toy import encode_frame
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    CameraRole,
    Clip,
    Drop,
    Episode,
    Failure,
    Float64,
    JpegFrame,
    Outcome,
    PoseTarget,
    Reason,
    ResizeMode,
    RgbFrame,
    Split,
)

NEW = "benchmark1_1_release/h5_franka_3rgb"
ONE_CAMERA = "benchmark1_1_release/h5_franka_1rgb/bread_in_basket/success_episodes/1014_144602"
THREE_CAMERAS = f"{NEW}/241021_close_trash_bin_1/success_episodes/train/1021_101010"
NO_TOP = f"{NEW}/241021_close_trash_bin_1/success_episodes/val/1021_111111"
APPLES = f"{NEW}/apples_placed_on_a_ceramic_plate/success_episodes/train/1112_141543"
STUCK = f"{NEW}/apples_placed_on_a_ceramic_plate/success_episodes/train/1112_161616"
GLUED = f"{NEW}/35_putcarrot/success_episodes/train/1030_121212"
PRIMARY, SECONDARY = CameraRole.PRIMARY, CameraRole.SECONDARY


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robomind_franka")
    robomind_franka.write_toy(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def outcomes(root: Path, settings: robomind_franka.Settings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or robomind_franka.Settings()
    for part in robomind_franka.parts(raw, settings):
        yield from robomind_franka.episodes(raw, part, settings)


def outcome(root: Path, id_: str, settings: robomind_franka.Settings | None = None) -> Outcome:
    found = {one.id if isinstance(one, Episode) else one.episode: one for one in outcomes(root, settings)}
    return found[id_]


def episode(root: Path, id_: str, settings: robomind_franka.Settings | None = None) -> Episode:
    found = outcome(root, id_, settings)
    assert isinstance(found, Episode), found
    return found


def reached(found: Episode) -> tuple[Arm, ArmAction, PoseTarget]:
    assert found.right is not None
    assert found.right.action is not None
    assert isinstance(found.right.action.motion, PoseTarget)
    return found.right, found.right.action, found.right.action.motion


def raw_values(root: Path, id_: str, key: str) -> Float64:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5") as file:
        return np.asarray(file[key][()])


def edit(root: Path, id_: str, key: str, values: Float64) -> None:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5", "r+") as file:
        file[key][...] = values


def delete(root: Path, id_: str, key: str) -> None:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5", "r+") as file:
        del file[key]


def set_frame(root: Path, id_: str, camera: str, row: int, data: bytes) -> None:
    with h5py.File(root / id_ / "data" / "trajectory.hdf5", "r+") as file:
        file[f"observations/rgb_images/{camera}"][row] = np.frombuffer(data, np.uint8)


def marks(found: Episode, role: CameraRole) -> list[ToyMark]:
    stream = found.cameras[role]
    frames = stream.read(range(stream.num_frames), ResizeMode.PLAIN)
    return [read_toy_frame(to_square(rgb_pixels(frame), ResizeMode.PLAIN)) for frame in frames]


def clip(found: Episode) -> Clip:
    settings = robomind_franka.Settings()
    clips = normalize(found, robomind_franka.INFO, settings, FrameSelection.KEYFRAMES)
    assert isinstance(clips, tuple), clips
    return clips[0]


def test_the_action_of_a_row_is_the_puppet_s_next_pose_and_the_last_step_is_no_row(toy: Path) -> None:
    found = episode(toy, THREE_CAMERAS)
    arm, _, motion = reached(found)
    pose = raw_values(toy, THREE_CAMERAS, "puppet/end_effector")

    assert found.step_index.tolist() == list(range(len(pose) - 1))
    np.testing.assert_array_equal(arm.xyz_m, pose[:-1, :3])
    np.testing.assert_array_equal(motion.xyz_m, pose[1:, :3])
    np.testing.assert_allclose(motion.rotation, matrix_from_euler_xyz(pose[1:, 3:]), atol=1e-12)
    assert found.action_origin is ActionOrigin.REACHED


def test_a_hand_that_points_down_turns_by_small_steps_although_its_roll_jumps(toy: Path) -> None:
    roll = raw_values(toy, THREE_CAMERAS, "puppet/end_effector")[:, 3]
    action = clip(episode(toy, THREE_CAMERAS)).action

    assert np.abs(np.diff(roll)).max() > 6, "the toy crosses +-pi"
    assert action is not None
    assert np.abs(action.track.values[:, RIGHT_ACTION + 3 : RIGHT_ACTION + 6]).max() < 0.05


def test_a_stored_one_is_a_closed_gripper_and_the_action_is_the_next_opening(toy: Path) -> None:
    arm, action, _ = reached(episode(toy, THREE_CAMERAS))
    stored = raw_values(toy, THREE_CAMERAS, "puppet/joint_position")[:, 7]

    assert (stored[0], stored[-1]) == (0, 1)
    assert arm.gripper_open is not None
    assert arm.gripper_open.tolist() == (1 - stored[:-1]).tolist()
    assert action.gripper_open.tolist() == (1 - stored[1:]).tolist()
    assert action.gripper_open.tolist() != arm.gripper_open.tolist()


def test_joint_targets_are_the_puppet_s_next_joints_not_the_master_s(toy: Path) -> None:
    found = episode(toy, THREE_CAMERAS)
    arm, action, _ = reached(found)
    joints = raw_values(toy, THREE_CAMERAS, "puppet/joint_position")[:, :7]

    np.testing.assert_array_equal(arm.joint_position_rad, joints[:-1])
    np.testing.assert_array_equal(action.joint_target_rad, joints[1:])
    assert arm.joint_velocity_rad_s is None
    stored = clip(found)
    assert stored.action is not None
    assert stored.state is not None
    assert stored.action.track.mask[RIGHT_ACTION : RIGHT_ACTION + 14].all()
    assert not stored.state.mask[RIGHT_STATE + 17 : RIGHT_STATE + 24].any()
    assert not stored.action.track.mask[:RIGHT_ACTION].any()


@pytest.mark.parametrize("role", [PRIMARY, SECONDARY])
def test_frames_are_rgb_upright_and_those_of_their_rows(toy: Path, role: CameraRole) -> None:
    """Step 30 of the top camera is a bare buffer of 1280x720 in BGR; the others are JPEG."""
    found = episode(toy, THREE_CAMERAS)
    seen = marks(found, role)
    frames = list(found.cameras[role].read([29, 30], ResizeMode.PLAIN))

    assert [mark.step for mark in seen] == found.step_index.tolist()
    assert all(mark.rgb and mark.upright for mark in seen)
    assert {mark.camera for mark in seen} == {0 if role is PRIMARY else 1}
    assert isinstance(frames[0], JpegFrame)
    assert isinstance(frames[1], RgbFrame) == (role is PRIMARY)


def test_a_jpeg_of_the_right_size_is_stored_byte_for_byte(root: Path) -> None:
    data = encode_frame(toy_frame(256, 256, step=0, episode=1), FrameBytes.RECORDED_BGR)
    set_frame(root, THREE_CAMERAS, "camera_top", 0, data)

    assert clip(episode(root, THREE_CAMERAS)).frames[PRIMARY][0].jpeg == data


def test_without_a_top_camera_left_is_primary_and_right_secondary(toy: Path) -> None:
    found = episode(toy, NO_TOP)

    assert {mark.camera for mark in marks(found, PRIMARY)} == {1}
    assert {mark.camera for mark in marks(found, SECONDARY)} == {2}
    assert set(episode(toy, ONE_CAMERA).cameras) == {PRIMARY}


def test_an_empty_top_camera_counts_as_absent(root: Path) -> None:
    with h5py.File(root / THREE_CAMERAS / "data" / "trajectory.hdf5", "r+") as file:
        del file["observations/rgb_images/camera_top"]
        file.create_dataset("observations/rgb_images/camera_top", (0,), dtype=h5py.vlen_dtype(np.uint8))

    assert {mark.camera for mark in marks(episode(root, THREE_CAMERAS), PRIMARY)} == {1}


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff and no more"])
def test_a_camera_none_of_whose_entries_is_an_image_counts_as_absent(root: Path, data: bytes) -> None:
    for camera in ("camera_top", "camera_right"):
        for row in range(raw_values(root, THREE_CAMERAS, "puppet/end_effector").shape[0]):
            set_frame(root, THREE_CAMERAS, camera, row, data)
    found = episode(root, THREE_CAMERAS)

    assert set(found.cameras) == {PRIMARY}
    assert {mark.camera for mark in marks(found, PRIMARY)} == {1}
    assert set(clip(found).frames) == {PRIMARY}


def test_a_camera_that_starts_late_is_there(root: Path) -> None:
    """Its first frames do not decode, which drops the episode (V1) and does not hide the camera."""
    for row in range(3):
        set_frame(root, THREE_CAMERAS, "camera_top", row, b"")
    found = episode(root, THREE_CAMERAS)
    dropped = normalize(found, robomind_franka.INFO, robomind_franka.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.UNDECODABLE


def test_an_episode_with_the_right_camera_alone_is_dropped(root: Path) -> None:
    delete(root, NO_TOP, "observations/rgb_images/camera_left")
    found = episode(root, NO_TOP)
    dropped = normalize(found, robomind_franka.INFO, robomind_franka.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.NO_CAMERA


def test_a_hand_pose_that_stands_still_while_joints_move_is_dropped(toy: Path) -> None:
    found = outcome(toy, STUCK)

    assert isinstance(found, Drop)
    assert found.reason is Reason.STUCK_EEF


def test_a_still_arm_is_not_stuck_even_when_its_gripper_moves(root: Path) -> None:
    joints = raw_values(root, STUCK, "puppet/joint_position")
    joints[:, :7] = joints[0, :7]
    edit(root, STUCK, "puppet/joint_position", joints)

    assert isinstance(outcome(root, STUCK), Episode)


def test_nan_drops_the_episode(root: Path) -> None:
    pose = raw_values(root, APPLES, "puppet/end_effector")
    pose[-1, 4] = np.nan
    edit(root, APPLES, "puppet/end_effector", pose)
    found = outcome(root, APPLES)

    assert isinstance(found, Drop)
    assert found.reason is Reason.NONFINITE


def test_texts_come_from_summary_list_and_folder_name_and_a_glued_one_drops(toy: Path) -> None:
    def texts(id_: str) -> list[tuple[str, str]]:
        return [(text.text, text.origin) for text in episode(toy, id_).instructions]

    assert texts(THREE_CAMERAS) == [("closing the lid of the trash bin", "human"), ("close the trash bin", "human")]
    assert texts(NO_TOP) == [("close the trash bin", "human")]
    assert texts(APPLES) == [("apples placed on a ceramic plate", "task_name")]
    settings = robomind_franka.Settings(min_frames=2)
    dropped = normalize(episode(toy, GLUED), robomind_franka.INFO, settings, FrameSelection.KEYFRAMES)
    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.GLUED


def test_split_release_and_provenance_come_from_the_path(toy: Path) -> None:
    assert [episode(toy, id_).split for id_ in (THREE_CAMERAS, NO_TOP, ONE_CAMERA)] == [Split.TRAIN, Split.VAL, None]
    assert episode(toy, ONE_CAMERA).release == "benchmark1_1_release"
    assert episode(toy, NO_TOP).provenance == {
        "file": f"{NO_TOP}/data/trajectory.hdf5",
        "record": "1021_111111",
        "task": "241021_close_trash_bin_1",
    }


def test_the_rate_is_30_hz_unless_set(toy: Path) -> None:
    assert episode(toy, APPLES).hz == 30
    assert episode(toy, APPLES, robomind_franka.Settings(hz=10)).hz == 10


def test_depth_comes_in_metres_on_request_alone(toy: Path) -> None:
    assert episode(toy, NO_TOP).depths == {}
    found = episode(toy, NO_TOP, robomind_franka.Settings(depth=True))

    assert set(found.depths) == {PRIMARY, SECONDARY}
    assert [image.max() for image in found.depths[PRIMARY].read([3, 30])] == pytest.approx([0.503, 0.53])


@pytest.mark.parametrize("bad", [b"", b"no image", b"\x89PNG\r\n\x1a\n torn"])
def test_a_depth_image_that_does_not_decode_drops_the_episode_where_its_row_is_stored(root: Path, bad: bytes) -> None:
    with h5py.File(root / NO_TOP / "data" / "trajectory.hdf5", "r+") as file:
        file["observations/depth_images/camera_left"][30] = np.frombuffer(bad, np.uint8)
    settings = robomind_franka.Settings(depth=True)
    found = episode(root, NO_TOP, settings)
    dropped = normalize(found, robomind_franka.INFO, settings, FrameSelection.KEYFRAMES)

    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.UNDECODABLE
    assert len(list(found.cameras[PRIMARY].read([0, 29], ResizeMode.PLAIN))) == 2
    plain = normalize(episode(root, NO_TOP), robomind_franka.INFO, robomind_franka.Settings(), FrameSelection.KEYFRAMES)
    assert isinstance(plain, tuple), "without depth nobody looks at it"


@pytest.mark.parametrize("is_empty", [True, False])
def test_depth_that_a_camera_lacks_is_left_out(root: Path, is_empty: bool) -> None:
    delete(root, NO_TOP, "observations/depth_images/camera_right")
    if is_empty:
        num_steps = len(raw_values(root, NO_TOP, "puppet/end_effector"))
        with h5py.File(root / NO_TOP / "data" / "trajectory.hdf5", "r+") as file:
            depths = file["observations/depth_images"]
            depths.create_dataset("camera_right", (num_steps,), dtype=h5py.vlen_dtype(np.uint8))
    found = episode(root, NO_TOP, robomind_franka.Settings(depth=True))

    assert set(found.depths) == {PRIMARY}
    assert set(found.cameras) == {PRIMARY, SECONDARY}


def test_a_simulated_file_in_a_real_folder_fails(root: Path) -> None:
    with h5py.File(root / APPLES / "data" / "trajectory.hdf5", "r+") as file:
        file.attrs["sim"] = True
    found = outcome(root, APPLES)

    assert isinstance(found, Failure)
    assert "simulated" in found.detail


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("puppet/end_effector", "expected a readable dataset"),
        ("puppet/joint_position", "expected a readable dataset"),
    ],
)
def test_a_missing_key_fails_that_episode_alone(root: Path, key: str, said: str) -> None:
    delete(root, APPLES, key)
    found = list(outcomes(root))
    failed = [one for one in found if isinstance(one, Failure)]

    assert [one.episode for one in failed] == [APPLES]
    assert said in failed[0].detail
    assert key in failed[0].detail
    assert len(found) == 7


def test_a_camera_of_another_length_fails_that_episode(root: Path) -> None:
    with h5py.File(root / APPLES / "data" / "trajectory.hdf5", "r+") as file:
        images = file["observations/rgb_images/camera_top"][:-1]
        del file["observations/rgb_images/camera_top"]
        file.create_dataset("observations/rgb_images/camera_top", data=images, dtype=h5py.vlen_dtype(np.uint8))
    found = outcome(root, APPLES)

    assert isinstance(found, Failure)
    assert "camera_top has 35 steps but end_effector has 36" in found.detail


def test_a_truncated_file_fails_that_episode_alone_and_names_no_absolute_path(root: Path) -> None:
    path = root / APPLES / "data" / "trajectory.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    found = list(outcomes(root))
    failed = [one for one in found if isinstance(one, Failure)]

    assert [one.episode for one in failed] == [APPLES]
    assert str(root) not in failed[0].detail
    assert len(found) == 7


def test_a_tree_of_another_robot_is_refused(root: Path) -> None:
    for release in ("benchmark1_1_release/h5_franka_1rgb", "benchmark1_1_release/h5_franka_3rgb"):
        (root / release).rename(root / release.replace("h5_franka", "h5_sim_franka"))
    with pytest.raises(RequestError, match="simulated folders are not supported"):
        list(outcomes(root))
