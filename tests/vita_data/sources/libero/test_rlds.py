"""LIBERO's release no_noops (RLDS): no shift, units, polarity, images rotated already, and how to choose it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset, read_shard
from vita_data.formats.rlds.files import ShardLengths
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels
from vita_data.sources.libero import source as libero
from vita_data.sources.libero.rlds import read_libero_record
from vita_data.types import (
    Arm,
    ArmAction,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    JpegFrame,
    Outcome,
    PoseDelta,
    ResizeMode,
    Split,
)

FOLDER = "libero_spatial_no_noops/1.0.0"
FILES = [f"{FOLDER}/libero_spatial_no_noops-train.tfrecord-{n:05d}-of-00002" for n in range(2)]
LONG = "libero_10_no_noops/1.0.0/libero_10_no_noops-train.tfrecord-00000-of-00001"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("libero_no_noops")
    libero._write_toy_no_noops(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def outcomes(root: Path, file: str = FILES[0], settings: libero.Settings | None = None) -> list[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or libero.Settings()
    part = next(part for part in libero.parts(raw, settings) if part.id == file)
    return list(libero.episodes(raw, part, settings))


def first(root: Path, file: str = FILES[0], settings: libero.Settings | None = None) -> Episode:
    found = outcomes(root, file, settings)[0]
    assert isinstance(found, Episode)
    return found


def record(root: Path, file: str = FILES[0]) -> RldsRecord:
    raw = FsspecTree(str(root))
    return next(iter(read_shard(raw, open_dataset(raw, str(Path(file).parent)), file)))


def moved(episode: Episode) -> tuple[Arm, ArmAction, PoseDelta]:
    assert episode.right is not None
    assert episode.right.action is not None
    assert isinstance(episode.right.action.motion, PoseDelta)
    return episode.right, episode.right.action, episode.right.action.motion


def test_observation_t_pairs_with_action_t_without_a_shift(toy: Path) -> None:
    episode, raw = first(toy), record(toy).floats("steps/action")
    arm, action, delta = moved(episode)
    assert arm.xyz_m is not None
    assert arm.rotation is not None
    assert len(raw) == len(episode.step_index) == 41 - 1
    assert np.allclose(delta.xyz_m, raw[:, :3] * 0.05, atol=1e-9)
    assert np.array_equal(action.gripper_open, (1 - raw[:, 6]) / 2)
    assert np.allclose(arm.xyz_m[:-1] + delta.xyz_m[:-1], arm.xyz_m[1:], atol=1e-6)
    assert not np.allclose(arm.xyz_m[:-1] + delta.xyz_m[1:], arm.xyz_m[1:], atol=1e-6)
    assert np.allclose(delta.rotation[:-1] @ arm.rotation[:-1], arm.rotation[1:], atol=1e-5)


def test_rows_are_numbered_as_stored_and_their_frames_are_their_own(toy: Path) -> None:
    episode = first(toy)
    assert np.array_equal(episode.step_index, np.arange(40))
    for camera, role in enumerate((CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)):
        frames = list(episode.cameras[role].read(range(40), ResizeMode.PLAIN))
        marks = [read_toy_frame(rgb_pixels(frame)) for frame in frames]
        assert [mark.step for mark in marks] == list(range(40))
        assert {mark.camera for mark in marks} == {camera}
        assert all(mark.upright and mark.rgb for mark in marks), "the stored images are rotated already"


def test_jpeg_bytes_pass_through_and_evaluation_is_told_how_they_are_turned(toy: Path) -> None:
    episode = first(toy)
    (frame,) = episode.cameras[CameraRole.WRIST_RIGHT].read([7], ResizeMode.PLAIN)
    assert isinstance(frame, JpegFrame)
    assert frame.data == record(toy).byte_strings("steps/observation/wrist_image")[7]
    assert episode.extras["orientation"] == "rot180"


@pytest.mark.parametrize("orientation", [libero.Orientation.VFLIP, libero.Orientation.NONE])
def test_another_orientation_is_refused_because_images_are_not_turned_again(
    toy: Path, orientation: libero.Orientation
) -> None:
    with pytest.raises(RequestError, match=rf"orientation={orientation}: .* stored as rot180"):
        libero.parts(FsspecTree(str(toy)), libero.Settings(orientation=orientation))


def test_a_command_of_one_is_5_cm_and_half_a_radian_and_minus_one_opens(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = RldsRecord.floats

    def commanded(self: RldsRecord, path: str) -> Float64:
        values = stored(self, path)
        if path == "steps/action":
            values[0] = [1, -2, 0, 0, 0, 1, -1]
            values[1] = [0, 0, 0, 0, 0, 0, 1]
        return values

    monkeypatch.setattr(RldsRecord, "floats", commanded)
    _, action, delta = moved(first(toy))
    assert np.allclose(delta.xyz_m[0], [0.05, -0.05, 0])
    assert np.allclose(delta.rotation[0], Rotation.from_euler("z", 0.5).as_matrix())
    assert action.gripper_open[:2].tolist() == [1.0, 0.0]


def test_the_state_is_position_axis_angle_and_the_distance_of_two_fingers(toy: Path) -> None:
    state = record(toy).floats("steps/observation/state")
    arm, action, _ = moved(first(toy))
    assert arm.xyz_m is not None
    assert arm.rotation is not None
    assert arm.gripper_open is not None
    assert np.allclose(arm.xyz_m, state[:, :3])
    assert np.allclose(arm.rotation, Rotation.from_rotvec(state[:, 3:6]).as_matrix())
    assert np.allclose(arm.gripper_open, (state[:, 6] - state[:, 7]) / 0.08)
    assert (arm.gripper_open[0], arm.gripper_open[-1]) == pytest.approx((1, 0), abs=1e-6)
    assert np.corrcoef(action.gripper_open, arm.gripper_open)[0, 1] > 0.8


def test_joint_positions_are_read_where_a_copy_has_them(root: Path) -> None:
    arm, _, _ = moved(first(root))
    assert arm.joint_position_rad is not None
    assert arm.joint_position_rad.shape == (40, 7)
    forget(root, "observation", "joint_state")
    arm, _, _ = moved(first(root))
    assert arm.joint_position_rad is None


def forget(root: Path, *path: str) -> None:
    """Take a key of the steps, or of the metadata, out of features.json."""
    file = root / FOLDER / "features.json"
    features = json.loads(file.read_text())
    node = features["featuresDict"]["features"]
    if path[0] == "episode_metadata":
        del node["episode_metadata"]
    else:
        steps = node["steps"]["sequence"]["feature"]["featuresDict"]["features"]
        del steps[path[0]]["featuresDict"]["features"][path[1]]
    file.write_text(json.dumps(features))


def test_suite_task_and_place_come_from_the_folder_and_the_file_it_was_made_from(root: Path) -> None:
    episode = first(root)
    assert (episode.id, episode.release, episode.split, episode.hz) == (f"{FILES[0]}#00000", "no_noops", None, 20.0)
    assert [(text.text, text.origin) for text in episode.instructions] == [("turn on the stove", "task_name")]
    assert dict(episode.provenance) == {
        "file": FILES[0],
        "record": 0,
        "suite": "libero_spatial",
        "task": "KITCHEN_SCENE3_turn_on_the_stove",
    }
    assert episode.extras["suite"] == "libero_spatial"
    assert "converter" not in f"{episode.provenance} {episode.extras}"
    forget(root, "episode_metadata")
    assert first(root).extras["task"] == "turn_on_the_stove"


def test_both_releases_in_one_tree_are_refused_until_one_is_chosen(root: Path) -> None:
    libero.write_toy(str(root))
    raw = FsspecTree(str(root))
    with pytest.raises(
        RequestError, match="contains the releases official and no_noops; choose one with --set release="
    ):
        libero.parts(raw, libero.Settings())
    replayed = libero.parts(raw, libero.Settings(release=libero.Release.NO_NOOPS))
    assert [part.id for part in replayed] == [LONG, *FILES]
    official = libero.parts(raw, libero.Settings(release=libero.Release.OFFICIAL))
    assert {part.id.rpartition(".")[2] for part in official} == {"hdf5"}


def test_a_release_that_is_not_there_is_named(toy: Path) -> None:
    with pytest.raises(RequestError, match="for --set release=official"):
        libero.parts(FsspecTree(str(toy)), libero.Settings(release=libero.Release.OFFICIAL))


def test_records_are_counted_and_each_comes_out_once(toy: Path) -> None:
    parts = libero.parts(FsspecTree(str(toy)), libero.Settings())
    assert {part.id: part.num_episodes for part in parts} == {LONG: 1, FILES[0]: 2, FILES[1]: 1}
    for part in parts:
        found = outcomes(toy, part.id)
        assert [out.id for out in found if isinstance(out, Episode)] == [
            f"{part.id}#{record:05d}" for record in range(part.num_episodes or 0)
        ]


def test_suites_choose_folders_and_tasks_cannot(toy: Path) -> None:
    raw = FsspecTree(str(toy))
    assert [part.id for part in libero.parts(raw, libero.Settings(suites=("libero_10",)))] == [LONG]
    with pytest.raises(RequestError, match=r"suites: libero_goal not found in .*available: libero_10, libero_spatial"):
        libero.parts(raw, libero.Settings(suites=("libero_goal",)))
    with pytest.raises(RequestError, match=r"tasks: .* contains several tasks; choose suites"):
        libero.parts(raw, libero.Settings(tasks=("turn_on_the_stove",)))


def test_a_release_s_own_validation_split_is_kept(root: Path) -> None:
    file = root / FOLDER / "dataset_info.json"
    info = json.loads(file.read_text())
    info["splits"] = [
        {"name": name, "filepathTemplate": Path(path).name, "shardLengths": [length]}
        for name, path, length in zip(("train", "val"), FILES, ("2", "1"), strict=True)
    ]
    file.write_text(json.dumps(info))
    assert [first(root, path).split for path in FILES] == [Split.TRAIN, Split.VAL]


def test_episodes_become_clips_that_start_at_row_0_and_have_no_gap(toy: Path) -> None:
    clips = normalize(first(toy), libero.INFO, libero.Settings(), FrameSelection.KEYFRAMES)
    assert not isinstance(clips, Drop)
    assert [clip.step_index.tolist() for clip in clips] == [list(range(40))]


def test_the_card_says_what_is_unknown_about_time() -> None:
    assert any("no_noops" in note and "is not known" in note for note in libero.INFO.notes)


@pytest.mark.parametrize("key", ["steps/observation/state", "steps/action", "steps/observation/joint_state"])
def test_rows_of_another_length_or_width_fail_the_episode_alone(
    toy: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    stored = RldsRecord.floats

    def shortened(self: RldsRecord, path: str) -> Float64:
        values = stored(self, path)
        return values[:-1] if path == key and self.index == 1 else values

    monkeypatch.setattr(RldsRecord, "floats", shortened)
    found = outcomes(toy)
    assert [type(outcome) for outcome in found] == [Episode, Failure]
    assert isinstance(found[1], Failure)
    assert "rows but there are" in found[1].detail

    def narrow(self: RldsRecord, path: str) -> Float64:
        return stored(self, path)[:, :3] if path == key else stored(self, path)

    monkeypatch.setattr(RldsRecord, "floats", narrow)
    assert [type(outcome) for outcome in outcomes(toy)] == [Failure, Failure]


def test_different_texts_of_the_steps_are_kept_once_each(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = RldsRecord.texts

    def mixed(self: RldsRecord, path: str) -> list[str]:
        return ["", "b", "a", "b"] if path.endswith("language_instruction") else stored(self, path)

    monkeypatch.setattr(RldsRecord, "texts", mixed)
    assert read_libero_record(record(toy)).texts == ("b", "a")


def test_the_files_of_a_suite_are_chosen_as_for_every_rlds_source(toy: Path, toy_raw: Path) -> None:
    asked = libero.Settings(splits=("train",), shard_lengths=ShardLengths.IGNORED)
    assert len(outcomes(toy, settings=asked)) == 2
    with pytest.raises(RequestError, match="apply only to RLDS files"):
        libero.parts(FsspecTree(str(toy_raw / "libero")), asked)
