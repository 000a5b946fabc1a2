"""FMB: clipped base-frame deltas, its reversed gripper, quaternions, texts of episode and primitives, depth."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from scipy.spatial.transform import Rotation

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset, read_shard
from vita_data.formats.rlds.features import FeatureSpec
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import write_rlds
from vita_data.formats.toy import read_toy_frame, toy_jpeg
from vita_data.geometry import integrate_deltas
from vita_data.normalize.vectors import arm_delta
from vita_data.sources import fmb
from vita_data.types import CameraRole, Drop, Failure, JpegFrame, Outcome, PoseDelta, Reason, ResizeMode

RELEASE = "fmb_dataset/1.0.0"
JPEG = toy_jpeg(np.zeros((8, 8, 3), np.uint8))
CAMERAS = {
    CameraRole.PRIMARY: "image_side_1",
    CameraRole.SECONDARY: "image_side_2",
    CameraRole.WRIST_RIGHT: "image_wrist_1",
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("fmb")
    fmb.write_toy(str(root))
    return FsspecTree(str(root))


def read(tree: FsspecTree, settings: fmb.Settings | None = None) -> list[Outcome]:
    settings = settings or fmb.Settings()
    return [outcome for part in fmb.parts(tree, settings) for outcome in fmb.episodes(tree, part, settings)]


def records(tree: FsspecTree) -> list[RldsRecord]:
    dataset = open_dataset(tree, RELEASE)
    return [record for shard in dataset.shards for record in read_shard(tree, dataset, shard.path)]


def write_tiny(root: Path, *, release: str = RELEASE, num_steps: int = 4, **changes: object) -> FsspecTree:
    """Write one episode that stands still; texts are string tensors, as in the TFDS copy, and there is no depth."""
    numbers = {"action": 7, "eef_pose": 7, "joint_pos": 7, "joint_vel": 7}
    paths = {name: f"steps/{'' if name == 'action' else 'observation/'}{name}" for name in numbers}
    features = {
        **{paths[name]: FeatureSpec(shape=(size,), num_levels=1) for name, size in numbers.items()},
        "steps/observation/state_gripper_pose": FeatureSpec(num_levels=1),
        "steps/language_instruction": FeatureSpec(dtype="string", num_levels=1),
        "episode_metadata/episode_language_instruction": FeatureSpec(dtype="string"),
        "episode_metadata/file_path": FeatureSpec(dtype="string"),
        **{
            f"steps/observation/{key}": FeatureSpec(kind="image", dtype="uint8", shape=(256, 256, 3), num_levels=1)
            for key in CAMERAS.values()
        },
    }
    values = {
        **{paths[name]: np.zeros((num_steps, size)) for name, size in numbers.items()},
        "steps/observation/state_gripper_pose": np.zeros(num_steps),
        "steps/language_instruction": [b"Move up."] * num_steps,
        "episode_metadata/episode_language_instruction": [b"Pick it up and insert it."],
        "episode_metadata/file_path": [b"/media/author/demo_7.npy"],
        **{f"steps/observation/{key}": [JPEG] * num_steps for key in CAMERAS.values()},
    }
    values["steps/observation/eef_pose"][:, 3] = 1.0
    changes = {key if "/" in key else paths.get(key, f"steps/observation/{key}"): to for key, to in changes.items()}
    features |= {key: FeatureSpec(shape=(2, 2), num_levels=1) for key in changes if key.endswith("_depth")}
    write_rlds(str(root), release=release, features=features, splits={"train": [[values | changes]]})
    return FsspecTree(str(root))


# ---------------------------------------------------------------------------------------------------------- actions


def test_deltas_integrate_to_the_recorded_poses_roll_near_pi(toy: FsspecTree):
    for outcome in read(toy):
        arm = outcome.right
        positions, rotations = integrate_deltas(arm.xyz_m[0], arm.rotation[0], arm_delta(arm, arm.action))
        np.testing.assert_allclose(positions[:-1], arm.xyz_m, atol=1e-5)
        np.testing.assert_allclose(rotations[:-1], arm.rotation, atol=1e-5)
        roll = Rotation.from_matrix(arm.rotation).as_euler("xyz")[:, 0]
        assert np.abs(roll).min() > 2.5


def test_a_command_beyond_what_the_robot_carries_out_is_clipped(tmp_path: Path):
    action = np.zeros((4, 7))
    action[1, :6] = [0.2, -0.2, 0.05, 0.9, -0.9, 0.2]
    (outcome,) = read(write_tiny(tmp_path, action=action))
    motion = outcome.right.action.motion
    assert isinstance(motion, PoseDelta)
    np.testing.assert_allclose(motion.xyz_m[1], [0.06, -0.06, 0.05], atol=1e-7)
    np.testing.assert_allclose(
        motion.rotation[1], Rotation.from_euler("xyz", [0.25, -0.25, 0.2]).as_matrix(), atol=1e-7
    )


def test_the_toy_commands_more_than_it_moves_once_an_episode(toy: FsspecTree):
    for record in records(toy):
        assert (np.abs(record.floats("steps/action")[:, :3]) > 0.061).sum() == 1


def test_the_delta_is_no_target_pose(tmp_path: Path):
    """RDT reads the action as an absolute pose: then a hand at 0.5 m with a command of 0.01 m would jump back."""
    action, pose = np.zeros((4, 7)), np.zeros((4, 7))
    action[:, 0], pose[:, 0], pose[:, 3] = 0.01, 0.5, 1.0
    (outcome,) = read(write_tiny(tmp_path, action=action, eef_pose=pose))
    np.testing.assert_allclose(arm_delta(outcome.right, outcome.right.action)[:, 0], 0.01, atol=1e-7)


def test_gripper_1_is_open_in_state_and_command(tmp_path: Path):
    action = np.zeros((4, 7))
    action[:, 6] = [0, 0, 1, 1]
    (outcome,) = read(write_tiny(tmp_path, action=action, state_gripper_pose=np.array([0.0, 0, 0, 1])))
    assert outcome.right.action.gripper_open.tolist() == [1, 1, 0, 0]
    assert outcome.right.gripper_open.tolist() == [1, 1, 1, 0]


def test_quaternions_are_x_y_z_w(tmp_path: Path):
    pose = np.zeros((4, 7))
    pose[:, 3:] = Rotation.from_euler("xyz", [3.0, 0.2, -0.4]).as_quat()
    (outcome,) = read(write_tiny(tmp_path, eef_pose=pose))
    expected = Rotation.from_euler("xyz", [3.0, 0.2, -0.4]).as_matrix()
    np.testing.assert_allclose(outcome.right.rotation[2], expected, atol=1e-6)


def test_joints_are_measured_and_none_is_commanded(toy: FsspecTree):
    for outcome, record in zip(read(toy), records(toy), strict=True):
        arm = outcome.right
        np.testing.assert_array_equal(arm.joint_position_rad, record.floats("steps/observation/joint_pos"))
        np.testing.assert_array_equal(arm.joint_velocity_rad_s, record.floats("steps/observation/joint_vel"))
        assert arm.action.joint_target_rad is None


# ------------------------------------------------------------------------------------------- cameras, texts, depth


def test_each_role_is_its_own_camera_and_every_step_a_row(toy: FsspecTree):
    for outcome, record in zip(read(toy), records(toy), strict=True):
        num_steps = len(record.floats("steps/action"))
        assert outcome.step_index.tolist() == list(range(num_steps))
        assert set(outcome.cameras) == set(CAMERAS)
        for role, key in CAMERAS.items():
            frames = list(outcome.cameras[role].read(range(num_steps), ResizeMode.PLAIN))
            assert frames == [JpegFrame(data) for data in record.byte_strings(f"steps/observation/{key}")]
        mark = read_toy_frame(np.asarray(simplejpeg.decode_jpeg(frames[3].data, "RGB")))
        assert (mark.step, mark.camera) == (3, 2)


def test_the_episode_s_text_is_main_and_primitives_follow_with_their_steps(toy: FsspecTree):
    outcome = read(toy)[0]
    texts = [instruction.text for instruction in outcome.instructions]
    assert texts[0].endswith("and insert it.")
    assert texts[1:] == [
        "Pick up the large long red hexagon object.",
        "Move up.",
        "Insert the large long red hexagon object.",
    ]
    segments = outcome.extras["segments"]
    assert [segment["text"] for segment in segments] == texts[1:]
    assert segments[0]["start"] == 0
    assert [segment["stop"] for segment in segments[:-1]] == [segment["start"] for segment in segments[1:]]
    assert segments[-1]["stop"] == len(outcome.step_index)


def test_a_primitive_that_returns_is_two_segments_and_one_text(tmp_path: Path):
    texts = {"steps/language_instruction": [b"Move up.", b"Rotate it.", b"Rotate it.", b"Move up."]}
    (outcome,) = read(write_tiny(tmp_path, **texts))
    assert [instruction.text for instruction in outcome.instructions[1:]] == ["Move up.", "Rotate it."]
    assert [(segment["start"], segment["stop"]) for segment in outcome.extras["segments"]] == [(0, 1), (1, 3), (3, 4)]


def test_depth_is_left_out_unless_asked_for(toy: FsspecTree):
    assert not any(outcome.depths for outcome in read(toy))
    assert read(toy, fmb.Settings(depth=True))[0].depths.keys() == CAMERAS.keys()


def test_depth_is_in_metres_and_a_missing_reading_is_0(toy: FsspecTree):
    outcome = read(toy, fmb.Settings(depth=True))[0]
    for camera, role in enumerate(CAMERAS):
        for row, image in zip((2, 9), outcome.depths[role].read((2, 9)), strict=True):
            assert image.dtype == np.float32
            assert image.shape == (256, 256)
            assert image[5, 5] == pytest.approx(0.2 + 0.1 * camera + 0.001 * row)
            assert image[0, 0] == image[0, 1] == 0


def test_depth_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(RequestError, match=r"--set depth=true: .*image_side_1_depth.*omit the setting"):
        fmb.parts(write_tiny(tmp_path), fmb.Settings(depth=True))


def test_depth_with_too_few_images_fails_the_episode(tmp_path: Path):
    depth = {
        f"steps/observation/{key}_depth": np.ones((3 if key == "image_side_2" else 4, 2, 2)) for key in CAMERAS.values()
    }
    (outcome,) = read(write_tiny(tmp_path, **depth), fmb.Settings(depth=True))
    assert len(list(outcome.depths[CameraRole.PRIMARY].read([0, 3]))) == 2
    with pytest.raises(EpisodeError, match="3 images in steps/observation/image_side_2_depth for 4 steps"):
        list(outcome.depths[CameraRole.SECONDARY].read([0]))


@pytest.mark.parametrize("entry", [b"", b"no image"])
def test_a_view_without_any_image_was_not_recorded_and_has_no_depth(tmp_path: Path, entry: bytes):
    depth = {f"steps/observation/{key}_depth": np.ones((4, 2, 2)) for key in CAMERAS.values()}
    (outcome,) = read(write_tiny(tmp_path, image_side_2=[entry] * 4, **depth), fmb.Settings(depth=True))
    assert set(outcome.cameras) == set(outcome.depths) == {CameraRole.PRIMARY, CameraRole.WRIST_RIGHT}


# ------------------------------------------------------------------------------------------------ names and damage


def test_provenance_holds_no_folder_of_the_authors(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path))
    file = f"{RELEASE}/fmb_dataset-train.tfrecord-00000-of-00001"
    assert outcome.provenance == {"file": file, "record": 0, "file_path": "demo_7.npy"}
    assert outcome.id == f"{file}#00000"
    assert (outcome.hz, outcome.split) == (10.0, None)


def test_the_tfds_copy_is_read_and_two_releases_need_a_choice(tmp_path: Path):
    tree = write_tiny(tmp_path, release="fmb/0.1.0")
    assert [outcome.release for outcome in read(tree)] == ["fmb/0.1.0"]
    write_tiny(tmp_path)
    with pytest.raises(RequestError, match=r"choose one with --set release=fmb/0.1.0"):
        fmb.parts(tree, fmb.Settings())
    assert [outcome.release for outcome in read(tree, fmb.Settings(release=RELEASE))] == [RELEASE]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("action", np.zeros((3, 7)), "steps/action 3"),
        ("image_wrist_1", [JPEG] * 5, "image_wrist_1 5"),
        ("steps/language_instruction", [b"Move up."], "language_instruction 1"),
    ],
)
def test_values_that_do_not_fit_fail_the_episode(tmp_path: Path, key: str, value: object, said: str):
    (outcome,) = read(write_tiny(tmp_path, **{key: value}))
    assert isinstance(outcome, Failure)
    assert said in outcome.detail


def test_an_episode_without_steps_is_dropped(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path, num_steps=0))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.SHORT


@pytest.mark.parametrize("norm", [0.0, 0.01, 1e30])
def test_a_quaternion_of_another_norm_drops_the_episode(tmp_path: Path, norm: float):
    pose = np.tile([0.5, 0, 0.2, 1, 0, 0, 0], (4, 1))
    pose[2, 3] = norm
    (outcome,) = read(write_tiny(tmp_path, eef_pose=pose))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.NONFINITE
    assert outcome.detail.endswith(f"eef_pose has a quaternion of norm {norm:g} in row 2, expected 1")


@pytest.mark.parametrize("key", ["action", "eef_pose", "joint_pos"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_drops_the_episode(tmp_path: Path, key: str, value: float):
    numbers = np.ones((14, 7))
    numbers[5, 4] = value
    (outcome,) = read(write_tiny(tmp_path, num_steps=14, **{key: numbers}))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.NONFINITE
    assert outcome.detail.endswith(key)
