"""RECON: video without actions, the base's pose relative to the start, one constant text, small images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset, read_shard
from vita_data.formats.rlds.features import FeatureSpec
from vita_data.formats.rlds.write import write_rlds
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.slots import BASE_STATE
from vita_data.sources import recon
from vita_data.types import CameraRole, Clip, Drop, Episode, Failure, Modality, Outcome, Reason

RELEASE = "berkeley_gnm_recon/0.1.0"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("recon")
    recon.write_toy(str(root))
    return FsspecTree(str(root))


def read(tree: FsspecTree, settings: recon.Settings | None = None) -> list[Outcome]:
    settings = settings or recon.Settings()
    return [outcome for part in recon.parts(tree, settings) for outcome in recon.episodes(tree, part, settings)]


def clips(tree: FsspecTree) -> list[Clip]:
    made = [normalize(found, recon.INFO, recon.Settings(), FrameSelection.KEYFRAMES) for found in read(tree)]
    return [clip for found in made if not isinstance(found, Drop) for clip in found]


def write_tiny(root: Path, num_steps: int = 4, **changes: object) -> FsspecTree:
    features = {
        "steps/observation/image": FeatureSpec(kind="image", dtype="uint8", shape=(120, 160, 3), num_levels=1),
        "steps/observation/position": FeatureSpec(dtype="float64", shape=(2,), num_levels=1),
        "steps/observation/yaw": FeatureSpec(dtype="float64", shape=(1,), num_levels=1),
        "steps/language_instruction": FeatureSpec(kind="text", dtype="string", num_levels=1),
        "episode_metadata/file_path": FeatureSpec(kind="text", dtype="string"),
    }
    values = {
        "image": [b"\xff\xd8\xff"] * num_steps,
        "position": np.zeros((num_steps, 2)),
        "yaw": np.zeros((num_steps, 1)),
    } | changes
    record = {f"steps/observation/{key}": value for key, value in values.items()} | {
        "steps/language_instruction": [b"Navigate"] * num_steps,
        "episode_metadata/file_path": [b"/home/author/recon/jackal_3/traj_data.pkl"],
    }
    write_rlds(str(root), release=RELEASE, features=features, splits={"train": [[record]]})
    return FsspecTree(str(root))


def test_a_clip_is_video_with_the_base_as_its_only_state(toy: FsspecTree):
    found = clips(toy)
    assert len(found) == 3
    for clip in found:
        assert clip.modality is Modality.VIDEO
        assert clip.action is None
        assert np.flatnonzero(clip.state.mask).tolist() == [BASE_STATE, BASE_STATE + 1, BASE_STATE + 2]


def test_the_pose_is_seen_from_the_start(tmp_path: Path):
    """Facing along -y at (5, 1): 2 m along -y is 2 m ahead, 1 m along +x is 1 m to the left."""
    position = np.array([[5, 1], [5, -1], [6, 1], [5, 1]], float)
    yaw = np.array([[-np.pi / 2], [-np.pi / 2], [0], [np.pi]])
    (outcome,) = read(write_tiny(tmp_path, position=position, yaw=yaw))
    expected = [[0, 0, 0], [2, 0, 0], [0, 1, np.pi / 2], [0, 0, -np.pi / 2]]
    np.testing.assert_allclose(outcome.base.pose, expected, atol=1e-6)


def test_yaw_passes_through_pi_without_a_jump(toy: FsspecTree):
    for outcome in read(toy):
        pose = outcome.base.pose
        assert pose[0].tolist() == [0, 0, 0]
        np.testing.assert_allclose(np.abs((np.diff(pose[:, 2]) + np.pi) % (2 * np.pi) - np.pi), 0.11, atol=1e-5)
        assert np.abs(pose[:, 2]).max() < np.pi
        ahead = np.column_stack([np.cos(pose[:-1, 2]), np.sin(pose[:-1, 2])])
        np.testing.assert_allclose(np.diff(pose[:, :2], axis=0), 0.4 * ahead, atol=1e-5)


def test_the_toy_s_stored_yaw_jumps_by_a_turn(toy: FsspecTree):
    dataset = open_dataset(toy, RELEASE)
    for shard in dataset.shards:
        for record in read_shard(toy, dataset, shard.path):
            assert np.abs(np.diff(record.floats("steps/observation/yaw")[:, 0])).max() > 6.0


def test_a_text_of_one_word_is_kept_and_an_empty_one_is_not(toy: FsspecTree):
    found = [normalize(outcome, recon.INFO, recon.Settings(), FrameSelection.KEYFRAMES) for outcome in read(toy)]
    assert found[0][0].instruction.text == "Navigate"
    reasons = [outcome.reason for outcome in found if isinstance(outcome, Drop)]
    assert reasons == [Reason.BLACK, Reason.EMPTY, Reason.SHORT]


def test_small_images_are_stored_at_full_size_and_say_their_step(toy: FsspecTree):
    for clip in clips(toy):
        assert set(clip.frames) == {CameraRole.PRIMARY}
        assert [frame.row for frame in clip.frames[CameraRole.PRIMARY]] == list(range(0, clip.num_steps, 3))
        for frame in clip.frames[CameraRole.PRIMARY]:
            pixels = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert pixels.shape == (256, 256, 3)
            assert read_toy_frame(pixels).step == frame.row


def test_names_rate_and_provenance(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path))
    file = f"{RELEASE}/berkeley_gnm_recon-train.tfrecord-00000-of-00001"
    assert isinstance(outcome, Episode)
    assert outcome.id == f"{file}#00000"
    assert outcome.provenance == {"file": file, "record": 0, "file_path": "jackal_3/traj_data.pkl"}
    assert (outcome.hz, outcome.split, outcome.release) == (3.0, None, RELEASE)
    assert read(FsspecTree(str(tmp_path)), recon.Settings(hz=4.0))[0].hz == 4.0


def test_steps_that_do_not_line_up_fail_the_episode(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path, yaw=np.zeros((3, 1))))
    assert isinstance(outcome, Failure)
    assert "4 frames, 4 positions and 3 yaws" in outcome.detail


def test_an_episode_without_steps_is_dropped(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path, 0))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.SHORT
