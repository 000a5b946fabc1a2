"""Kuka: successes only, 2 frames are enough, deflated state, prepared copies. Records are synthetic."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.features import TensorEncoding
from vita_data.formats.rlds.write import write_rlds
from vita_data.normalize import FrameSelection, normalize
from vita_data.sources import kuka
from vita_data.sources._shared.google_rlds_toy import toy_jpegs, toy_record
from vita_data.types import Clip, Drop, Episode, Failure, Outcome, Reason

RELEASE = "kuka/0.1.0"
POSE = "steps/observation/clip_function_input/base_pose_tool_reached"
CLOSED = "steps/observation/gripper_closed"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("kuka")
    kuka.write_toy(str(root))
    return FsspecTree(str(root))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("prepared")
    kuka._write_toy_prepared(str(root))
    return FsspecTree(str(root))


def read(tree: FsspecTree, settings: kuka.Settings | None = None) -> list[Outcome]:
    settings = settings or kuka.Settings()
    return [outcome for part in kuka.parts(tree, settings) for outcome in kuka.episodes(tree, part, settings)]


def normalized(
    outcome: Outcome, settings: kuka.Settings | None = None, frames: FrameSelection = FrameSelection.KEYFRAMES
) -> Clip | Drop:
    assert not isinstance(outcome, Failure)
    found = outcome
    if isinstance(outcome, Episode):
        found = normalize(outcome, kuka.INFO, settings or kuka.Settings(), frames)
    return found if isinstance(found, Drop) else found[0]


def write(root: Path, num_steps: int = 12, text: str = "pick anything", **changes: object) -> FsspecTree:
    """Write one successful episode of small images."""
    features = kuka._toy_features((64, 80), TensorEncoding.ZLIB)
    record = toy_record(
        features,
        tool_pose=POSE,
        gripper_open=np.ones(num_steps + 1),
        images=toy_jpegs((64, 80), num_steps=1, episode=0, hz=10.0, gripper_open=np.ones(1)) * num_steps,
        hz=10.0,
        seed=1,
        text=text,
        terminate_at=num_steps - 1,
    )
    values = record | {"success": np.array(True)} | changes
    write_rlds(str(root), release=RELEASE, features=features, splits={"train": [[values]]})
    return FsspecTree(str(root))


# ---------------------------------------------------------------------------------------------------------- episodes


def test_failed_grasps_are_dropped_as_unsuccessful(released: FsspecTree):
    found = read(released)
    assert [outcome.reason if isinstance(outcome, Drop) else None for outcome in found] == [
        None,
        None,
        None,
        Reason.UNSUCCESSFUL,
        None,
        Reason.UNSUCCESSFUL,
    ]


def test_two_frames_are_enough_and_the_card_says_so(released: FsspecTree, tmp_path: Path):
    found = [normalized(outcome) for outcome in read(released)]
    assert [clip.num_steps for clip in found if isinstance(clip, Clip)] == [14, 13, 9]
    assert found[4].reason is Reason.SHORT
    assert normalized(read(write(tmp_path, num_steps=2))[0]).num_steps == 2
    assert "min_frames is 2 here, not 13" in kuka.INFO.notes[0]


def test_the_papers_minimum_can_be_set(released: FsspecTree):
    settings = kuka.Settings(min_frames=13)
    found = [normalized(outcome, settings) for outcome in read(released, settings)]
    assert [clip.num_steps for clip in found if isinstance(clip, Clip)] == [14, 13]


def test_every_step_is_a_row_whatever_it_terminates(tmp_path: Path):
    ends = np.tile([1, 0, 0], (12, 1))
    (episode,) = read(write(tmp_path, **{"steps/action/terminate_episode": ends}))
    assert episode.step_index.tolist() == list(range(12))


def test_the_gripper_is_relative_and_one_is_open(released: FsspecTree):
    closes, opens = (outcome.right for outcome in read(released)[:2])
    assert closes.action.gripper_open.tolist() == [1.0] * 7 + [0.0] * 7
    assert closes.gripper_open.tolist() == [1.0] * 8 + [0.0] * 6
    assert opens.action.gripper_open.tolist() == [0.0] * 6 + [1.0] * 7
    assert opens.gripper_open.tolist() == [0.0] * 7 + [1.0] * 6


def test_the_motion_is_a_command_at_ten_hertz(released: FsspecTree):
    clip = normalized(read(released)[0])
    assert (clip.action.origin, clip.hz, clip.stride, clip.embodiment) == ("commanded", 10.0, 10, "kuka_iiwa")
    assert read(released, kuka.Settings(hz=5.0))[0].hz == 5.0


def test_a_generic_text_passes_and_an_empty_one_does_not(tmp_path: Path):
    assert normalized(read(write(tmp_path / "a"))[0]).instruction.text == "pick anything"
    assert normalized(read(write(tmp_path / "b", text=""))[0]).reason is Reason.EMPTY


def test_the_text_rules_apply(tmp_path: Path):
    assert normalized(read(write(tmp_path / "a", text="None"))[0]).reason is Reason.PLACEHOLDER
    assert normalized(read(write(tmp_path / "b", text="anything"))[0]).reason is Reason.GLUED


# ------------------------------------------------------------------------------------------------ deflated, prepared


def check_same_arms(ours: list[Outcome], theirs: list[Outcome]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.right.xyz_m, other.right.xyz_m)
        np.testing.assert_array_equal(one.right.rotation, other.right.rotation)
        np.testing.assert_array_equal(one.right.gripper_open, other.right.gripper_open)


def successes(tree: FsspecTree) -> list[Outcome]:
    return [outcome for outcome in read(tree) if not isinstance(outcome, Drop)]


def test_a_prepared_copy_has_the_same_values(released: FsspecTree, prepared: FsspecTree):
    assert len(read(prepared)) == 4
    check_same_arms(successes(released), successes(prepared))


def test_deflated_state_is_read_where_features_json_calls_it_plain(
    tmp_path: Path, released: FsspecTree, prepared: FsspecTree
):
    shutil.copytree(Path(released.root) / "kuka", tmp_path / "kuka")
    shutil.copy(Path(prepared.root) / RELEASE / "features.json", tmp_path / RELEASE)
    check_same_arms(successes(released), successes(FsspecTree(str(tmp_path))))


def test_damaged_state_is_a_failure_of_its_episode(tmp_path: Path):
    (found,) = read(write(tmp_path, **{POSE: [b"no zlib"] * 12}))
    assert isinstance(found, Failure)
    assert f"feature '{POSE}' is not zlib-encoded float32" in found.detail


def test_images_of_a_prepared_copy_pass_untouched(prepared: FsspecTree):
    clip = normalized(read(prepared)[0], frames=FrameSelection.ALL)
    gripper = np.where(np.arange(15) > 7, 0.0, 1.0)
    written = toy_jpegs((256, 256), num_steps=14, episode=0, hz=10.0, gripper_open=gripper)
    assert [frame.jpeg for frame in clip.frames["primary"]] == written


def test_images_of_the_release_are_made_256_square(released: FsspecTree):
    clip = normalized(read(released)[0], frames=FrameSelection.ALL)
    assert {simplejpeg.decode_jpeg_header(frame.jpeg)[:2] for frame in clip.frames["primary"]} == {(256, 256)}


# -------------------------------------------------------------------------------------------------- names and layout


def test_ids_provenance_and_split(released: FsspecTree):
    found = read(released)
    ids = [outcome.episode if isinstance(outcome, Drop) else outcome.id for outcome in found]
    assert ids == [f"{RELEASE}/kuka-train.tfrecord-{file:05d}-of-00002#{k:05d}" for file in (0, 1) for k in range(3)]
    assert found[0].provenance == {"file": f"{RELEASE}/kuka-train.tfrecord-00000-of-00002", "record": 0}
    assert found[0].split is None


def test_a_copy_without_the_success_mark_is_refused(tmp_path: Path, prepared: FsspecTree):
    shutil.copytree(Path(prepared.root) / "kuka", tmp_path / "kuka")
    path = tmp_path / RELEASE / "features.json"
    path.write_text(path.read_text().replace('"success"', '"other"'))
    with pytest.raises(RequestError, match="lacks success: it is another dataset or a copy with features removed"):
        kuka.parts(FsspecTree(str(tmp_path)), kuka.Settings())
