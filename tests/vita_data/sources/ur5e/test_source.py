"""UR-5e: both action spaces, axis-angle poses, gripper width, time stamps, the two stored forms and damaged files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from vita_data.builder import BuildRequest, build
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import ToyMark, read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels
from vita_data.normalize.vectors import action_track, state_track
from vita_data.resize import to_square
from vita_data.sources.ur5e import source as ur5e
from vita_data.sources.ur5e.toy import write_ur5e_toy_lerobot
from vita_data.types import (
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Outcome,
    PoseDelta,
    PoseTarget,
    Reason,
    ResizeMode,
    SourceSettings,
)

ABSOLUTE, DELTA, STALLED = "01/scene_000/000.hdf5", "01/scene_000/001.hdf5", "02/scene_004/000.hdf5"
TABLE = "data/chunk-000/episode_000000.parquet"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ur5e")
    ur5e.write_toy(str(root))
    return root


@pytest.fixture(scope="session")
def lerobot_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ur5e_lerobot")
    write_ur5e_toy_lerobot(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


@pytest.fixture
def lerobot_root(lerobot_toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lerobot_toy, tmp_path / "raw"))


def read(root: Path, file: str, settings: ur5e.Settings | None = None) -> Outcome:
    raw, settings = FsspecTree(str(root)), settings or ur5e.Settings()
    part = next(part for part in ur5e.parts(raw, settings) if part.id == file)
    (found,) = ur5e.episodes(raw, part, settings)
    return found


def episode(root: Path, file: str = ABSOLUTE, settings: ur5e.Settings | None = None) -> Episode:
    found = read(root, file, settings)
    assert isinstance(found, Episode), found
    return found


def failure(root: Path, file: str = ABSOLUTE, settings: ur5e.Settings | None = None) -> str:
    found = read(root, file, settings)
    assert isinstance(found, Failure), found
    assert found.episode == file
    return found.detail


def values(root: Path, key: str, file: str = ABSOLUTE) -> Float64:
    with h5py.File(root / file) as opened:
        return np.asarray(opened[key][()], np.float64)


def replace(root: Path, key: str, new: Float64, file: str = ABSOLUTE) -> None:
    with h5py.File(root / file, "r+") as opened:
        del opened[key]
        opened[key] = new


def attribute(root: Path, file: str = ABSOLUTE, **changes: object) -> None:
    with h5py.File(root / file, "r+") as opened:
        for key, value in changes.items():
            if value is None:
                del opened.attrs[key]
            else:
                opened.attrs[key] = value


def marks(found: Episode, role: CameraRole) -> Iterator[ToyMark]:
    stream = found.cameras[role]
    for frame in stream.read(range(stream.num_frames), ResizeMode.PLAIN):
        yield read_toy_frame(to_square(rgb_pixels(frame), ResizeMode.PLAIN))


def test_absolute_actions_are_poses_with_axis_angle_rotations(toy: Path) -> None:
    found = episode(toy, ABSOLUTE)
    assert found.right is not None
    assert found.right.action is not None
    motion, action = found.right.action.motion, values(toy, "action")

    assert isinstance(motion, PoseTarget)
    assert np.allclose(motion.xyz_m, action[:, :3])
    assert np.allclose(motion.rotation, Rotation.from_rotvec(action[:, 3:6]).as_matrix())
    assert found.action_origin == "commanded"


def test_delta_actions_are_extrinsic_euler_turns_in_the_base_frame(toy: Path) -> None:
    found = episode(toy, DELTA)
    assert found.right is not None
    assert found.right.action is not None
    motion, action = found.right.action.motion, values(toy, "action", DELTA)

    assert isinstance(motion, PoseDelta)
    assert np.allclose(motion.xyz_m, action[:, :3])
    assert np.allclose(motion.rotation, Rotation.from_euler("xyz", action[:, 3:6]).as_matrix())


@pytest.mark.parametrize("file", [ABSOLUTE, DELTA])
def test_either_action_space_leads_from_each_recorded_pose_to_the_next(toy: Path, file: str) -> None:
    found = episode(toy, file)
    track = action_track(found)
    assert track is not None
    assert found.right is not None
    assert found.right.xyz_m is not None
    assert found.right.rotation is not None
    turn = Rotation.from_euler("xyz", track.values[:-1, 19:22]).as_matrix()

    assert np.allclose(found.right.xyz_m[:-1] + track.values[:-1, 16:19], found.right.xyz_m[1:], atol=1e-6)
    assert np.allclose(turn @ found.right.rotation[:-1], found.right.rotation[1:], atol=1e-5)


def test_an_axis_angle_that_flips_its_sign_near_pi_is_no_turn(root: Path) -> None:
    """UR controllers report a hand pointing down as either of two opposite vectors of length near pi."""
    before = action_track(episode(root))
    pose = values(root, "state/tcp_pose")
    turn = pose[::2, 3:]
    pose[::2, 3:] = turn * (1 - 2 * np.pi / np.linalg.norm(turn, axis=1, keepdims=True))
    replace(root, "state/tcp_pose", pose)
    after = action_track(episode(root))

    assert before is not None
    assert after is not None
    assert np.allclose(before.values, after.values, atol=1e-6)


def test_the_gripper_is_one_when_open_in_state_and_action(root: Path) -> None:
    width = values(root, "state/gripper_width")
    width[1] = 0.0425
    replace(root, "state/gripper_width", width)
    found = episode(root)
    assert found.right is not None
    assert found.right.action is not None
    assert found.right.gripper_open is not None

    assert found.right.gripper_open[:2] == pytest.approx([1.0, 0.5])
    assert found.right.gripper_open[-1] == 0.0
    assert (found.right.action.gripper_open[0], found.right.action.gripper_open[-1]) == (1.0, 0.0)


def test_six_joints_leave_the_seventh_slot_masked_and_no_joint_target(toy: Path) -> None:
    found = episode(toy)
    state, action = state_track(found), action_track(found)

    assert state is not None
    assert action is not None
    assert state.mask[34:41].tolist() == [True] * 6 + [False]
    assert not action.mask[23:30].any()


@pytest.mark.parametrize("space", [None, "joint", "ABS_TCP"])
def test_a_recording_that_does_not_say_its_action_space_fails_and_is_told_how(root: Path, space: str | None) -> None:
    attribute(root, action_space=space)

    assert f"{ABSOLUTE}: action_space is {space!r}; set it to delta_base or abs_tcp" in failure(root)


def test_an_unsuccessful_recording_is_dropped_and_one_that_says_nothing_is_not(root: Path) -> None:
    found = read(root, "02/scene_004/001.hdf5")
    assert isinstance(found, Drop)
    assert found.reason is Reason.UNSUCCESSFUL
    attribute(root, success=None)
    assert isinstance(read(root, ABSOLUTE), Episode)


def test_a_stalled_recorder_leaves_a_gap_and_jitter_does_not(toy: Path) -> None:
    assert episode(toy, ABSOLUTE).step_index.tolist() == list(range(36))
    assert episode(toy, STALLED).step_index.tolist() == [*range(20), *range(23, 33)]


@pytest.mark.parametrize("seed", range(5))
def test_jitter_of_single_stamps_opens_no_gap_and_hides_no_stall(seed: int) -> None:
    jitter_s = np.random.default_rng(seed).normal(0, 0.006, 900).clip(-0.016, 0.016)
    steps = np.arange(900)
    assert ur5e._steps(steps / 30 + jitter_s, 30.0, "a").tolist() == steps.tolist()
    assert ur5e._steps(steps / 29.97 + jitter_s, 30.0, "a").tolist() == steps.tolist()
    steps[400:] += 3
    steps[405:] += 1
    assert ur5e._steps(steps / 30 + jitter_s, 30.0, "a").tolist() == steps.tolist()


@pytest.mark.parametrize("row", [1, 5, 20, 34, 35])
@pytest.mark.parametrize("late", [0.6, -0.6])
def test_one_stamp_that_is_off_opens_no_gap(row: int, late: float) -> None:
    stamps = np.arange(36.0)
    stamps[row] += late
    assert ur5e._steps(stamps / 30, 30.0, "a").tolist() == list(range(36))


@pytest.mark.parametrize("row", [1, 7, 20, 35])
@pytest.mark.parametrize("num_lost", [1, 3, 40])
def test_a_stall_opens_a_gap_as_long_as_it_was(row: int, num_lost: int) -> None:
    stamps = np.arange(36)
    stamps[row:] += num_lost
    assert ur5e._steps(stamps / 30, 30.0, "a").tolist() == stamps.tolist()


def test_stamps_that_come_in_pairs_tell_the_rate_and_no_gap() -> None:
    stamps = np.arange(36.0)
    stamps[1::2] -= 0.3
    assert ur5e._steps(stamps / 30, 30.0, "a").tolist() == list(range(36))


def test_a_clock_slightly_off_opens_no_gap_in_a_long_recording(root: Path) -> None:
    time_s = np.arange(36) / 29.0
    replace(root, "timestamp", time_s)

    assert episode(root).step_index.tolist() == list(range(36))


def test_another_rate_is_refused_until_it_is_said(root: Path) -> None:
    replace(root, "timestamp", np.arange(36) / 15.0)

    assert "the time stamps give 15.0 Hz, expected 30 Hz; give the true rate with --set hz=" in failure(root)
    assert episode(root, settings=ur5e.Settings(hz=15.0)).hz == 15.0


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_time_that_does_not_run_on_fails(root: Path, bad: float) -> None:
    time_s = np.arange(36) / 30.0
    time_s[7] = bad
    replace(root, "timestamp", time_s)

    assert "timestamp does not increase after row 6" in failure(root)


@pytest.mark.parametrize("file", [ABSOLUTE, DELTA, STALLED])
@pytest.mark.parametrize("role", list(ur5e.INFO.cameras))
def test_frames_are_upright_rgb_and_of_their_own_step_and_camera(toy: Path, file: str, role: CameraRole) -> None:
    """JPEG of 640x480 in two files, raw 256x256 in the other."""
    found = episode(toy, file)
    seen = list(marks(found, role))

    assert [mark.step for mark in seen] == found.step_index.tolist()
    assert all(mark.upright and mark.rgb for mark in seen)
    assert {mark.camera for mark in seen} == {0 if role is CameraRole.PRIMARY else 1}


def test_a_recording_without_wrist_camera_is_read_and_one_without_primary_is_dropped(root: Path) -> None:
    for file, key in ((ABSOLUTE, "wrist"), (DELTA, "third_person")):
        with h5py.File(root / file, "r+") as opened:
            del opened[f"images/{key}"]
    clips = normalize(episode(root, DELTA), ur5e.INFO, ur5e.Settings(), FrameSelection.KEYFRAMES)

    assert set(episode(root, ABSOLUTE).cameras) == {CameraRole.PRIMARY}
    assert isinstance(clips, Drop)
    assert clips.reason is Reason.NO_CAMERA


def test_depth_is_read_in_metres_only_where_it_is_asked_for_and_recorded(toy: Path) -> None:
    depth = ur5e.Settings(depth=True)
    assert episode(toy).depths == {}
    assert episode(toy, DELTA, depth).depths == {}
    metres = next(iter(episode(toy, ABSOLUTE, depth).depths[CameraRole.WRIST_RIGHT].read([7])))

    assert metres.shape == (256, 256)
    assert metres[0, 0] == pytest.approx(0.57)


def test_calibration_and_time_stamps_are_kept(toy: Path) -> None:
    extras = episode(toy).extras

    assert extras["intrinsics"] == {"third_person": [[600, 0, 320], [0, 600, 240], [0, 0, 1]]}
    assert extras["extrinsics"] == np.eye(4).tolist()
    assert extras["timestamp_s"] == values(toy, "timestamp").tolist()
    assert (extras["task"], extras["scene"], extras["task_type"]) == ("01", "scene_000", "basic")
    assert extras["action_space"] == "abs_tcp"


def test_a_recording_in_the_folder_of_another_task_fails(root: Path) -> None:
    attribute(root, task_id=7)
    assert "is in the folder of task 01, but its task_id is 7" in failure(root)


@pytest.mark.parametrize("key", ["action", "state/tcp_pose", "timestamp", "state/gripper_width"])
def test_a_missing_dataset_is_named(root: Path, key: str) -> None:
    with h5py.File(root / ABSOLUTE, "r+") as opened:
        del opened[key]
    detail = failure(root)
    assert ABSOLUTE in detail
    assert key in detail


def test_datasets_of_different_length_fail(root: Path) -> None:
    replace(root, "state/tcp_pose", values(root, "state/tcp_pose")[:-1])
    assert "state/tcp_pose has shape (35, 6) but there are 36 actions" in failure(root)


def test_widths_without_a_second_dimension_are_the_same(root: Path) -> None:
    before = episode(root).right
    replace(root, "state/gripper_width", values(root, "state/gripper_width")[:, 0])
    after = episode(root).right

    assert before is not None
    assert after is not None
    assert np.array_equal(before.gripper_open, after.gripper_open)  # type: ignore[arg-type]


def test_a_truncated_file_fails_under_its_own_id(root: Path) -> None:
    (root / ABSOLUTE).write_bytes((root / ABSOLUTE).read_bytes()[:20_000])
    assert failure(root, ABSOLUTE).startswith("01/scene_000/000.hdf5: cannot be opened (truncated")
    assert isinstance(read(root, DELTA), Episode)


def test_a_frame_that_is_no_image_drops_the_episode(root: Path) -> None:
    with h5py.File(root / ABSOLUTE, "r+") as opened:
        opened["images/third_person"][30] = np.frombuffer(b"no image", np.uint8)
    clips = normalize(episode(root), ur5e.INFO, ur5e.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(clips, Drop)
    assert clips.reason is Reason.UNDECODABLE


def test_the_lerobot_form_gives_the_same_values(lerobot_toy: Path) -> None:
    found = episode(lerobot_toy, TABLE)
    state = np.array(pq.read_table(lerobot_toy / TABLE)["observation.state"].to_pylist())
    assert found.right is not None
    assert found.right.action is not None

    assert found.release == "lerobot"
    assert np.allclose(found.right.joint_position_rad, state[:, :6])  # type: ignore[arg-type]
    assert np.allclose(found.right.xyz_m, state[:, 6:9])  # type: ignore[arg-type]
    assert np.allclose(found.right.rotation, Rotation.from_rotvec(state[:, 9:12]).as_matrix())  # type: ignore[arg-type]
    assert found.right.gripper_open == pytest.approx(state[:, 12] / 0.085)
    assert isinstance(found.right.action.motion, PoseTarget), "action_space stands in meta/info.json"
    assert [text.text for text in found.instructions] == ["Please gently touch the portrait on the left."]
    assert (found.extras["task"], found.extras["scene"]) == ("01", "scene_000")
    for camera, role in enumerate(ur5e.INFO.cameras):
        seen = list(marks(found, role))
        assert [mark.step for mark in seen] == found.step_index.tolist()
        assert {mark.camera for mark in seen} == {camera}
    dropped = read(lerobot_toy, TABLE.replace("000000", "000001"))
    assert isinstance(dropped, Drop)


def test_a_lerobot_episode_whose_video_is_absent_fails_and_counts_once(lerobot_root: Path) -> None:
    (lerobot_root / "videos/chunk-000/observation.images.wrist/episode_000000.mp4").unlink()

    assert "the video of 'observation.images.wrist' is listed in meta/info.json but missing" in failure(
        lerobot_root, TABLE
    )
    assert len(ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())) == 2


def test_both_forms_in_one_tree_must_be_chosen_from(lerobot_root: Path, toy: Path) -> None:
    shutil.copytree(toy / "01", lerobot_root / "01")
    raw = FsspecTree(str(lerobot_root))
    with pytest.raises(RequestError, match=r"found recordings as hdf5 and as lerobot; choose one with --set release="):
        ur5e.parts(raw, ur5e.Settings())
    assert len(ur5e.parts(raw, ur5e.Settings(release=ur5e.Form.HDF5))) == 2
    assert len(ur5e.parts(raw, ur5e.Settings(release=ur5e.Form.LEROBOT))) == 2


def test_another_layout_is_refused_with_the_expected_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"<task_id>/<scene>/<episode>\.hdf5"):
        ur5e.parts(FsspecTree(str(tmp_path)), ur5e.Settings())


def test_settings_of_another_class_are_a_programming_fault(toy: Path) -> None:
    with pytest.raises(TypeError, match="SourceSettings"):
        ur5e.parts(FsspecTree(str(toy)), SourceSettings())


def test_files_of_another_dataset_two_folders_deep_are_no_recordings(toy_raw: Path) -> None:
    """A folder that holds the trees of many datasets is refused, and the right one of them named."""
    with pytest.raises(RequestError, match=rf"; give {toy_raw}/ur5e$"):
        build(BuildRequest(source="ur5e", raw=str(toy_raw), out=toy_raw.parent / "unwritten", settings=ur5e.Settings()))
