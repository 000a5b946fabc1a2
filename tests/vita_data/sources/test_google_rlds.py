"""The steps shared by Google's robot releases: gripper history, end, encodings, faults. Files are synthetic."""

import json
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import read_shard
from vita_data.formats.rlds.features import TensorEncoding, dump_features
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.tfrecord import read_records
from vita_data.formats.rlds.write import write_rlds
from vita_data.sources import fractal
from vita_data.sources._shared.google_rlds import (
    GoogleSteps,
    absolute_opening,
    open_google_dataset,
    read_steps,
    to_outcome,
)
from vita_data.sources._shared.google_rlds_toy import toy_features, toy_record
from vita_data.types import CameraRole, Drop, Episode, PoseDelta, Reason, ResizeMode, Split

RELEASE = "robot/0.1.0"
POSE = "steps/observation/inner/pose"
CLOSED = "steps/observation/gripper_closed"
OPEN, KEEP, CLOSE = -1.0, 0.0, 1.0


def write(root: Path, encoding: TensorEncoding = TensorEncoding.NONE, num_steps: int = 8, **changes: object):
    """Write one episode of `num_steps` with a numbered byte string a frame."""
    features = toy_features(tool_pose=POSE, image_size=(256, 320), observation_encoding=encoding)
    values = toy_record(
        features,
        tool_pose=POSE,
        gripper_open=np.where(np.arange(num_steps + 1) < num_steps // 2, 1.0, 0.0),
        images=[b"\xff\xd8\xff" + bytes([step]) for step in range(num_steps)],
        hz=5.0,
        seed=3,
        text="lift it up",
        terminate_at=num_steps - 1,
    )
    write_rlds(str(root), release=RELEASE, features=features, splits={"train": [[values | changes]]})
    return FsspecTree(str(root))


def first_record(tree: FsspecTree) -> RldsRecord:
    dataset = open_google_dataset(tree, RELEASE, required=[POSE])
    return next(read_shard(tree, dataset, dataset.shards[0].path))


def steps_of(tree: FsspecTree) -> GoogleSteps:
    return read_steps(first_record(tree), tool_pose=POSE)


def outcome_of(tree: FsspecTree, **changes: object) -> Episode | Drop:
    dataset = open_google_dataset(tree, RELEASE, required=[POSE])
    steps = replace(steps_of(tree), **changes)
    return to_outcome(first_record(tree), steps, info=fractal.INFO, dataset=dataset, hz=3.0, text_origin="template")


# ---------------------------------------------------------------------------------------------------------- gripper


@pytest.mark.parametrize(
    ("closedness", "opening"),
    [
        ([KEEP, CLOSE, KEEP, KEEP, OPEN, KEEP], [1, 0, 0, 0, 1, 1]),
        ([KEEP, KEEP, OPEN, KEEP], [0, 0, 1, 1]),  # what opens first was closed
        ([KEEP, KEEP, CLOSE, KEEP], [1, 1, 0, 0]),
        ([CLOSE, KEEP], [0, 0]),
        ([KEEP, 0.05, -0.05], [1, 1, 1]),  # no command: open
        ([0.3, KEEP, -0.3], [0, 0, 1]),  # a weak pulse is a command
        ([0.1, -0.1, KEEP, 0.2], [1, 1, 1, 0]),  # the thresholds themselves are none
        ([], []),
    ],
)
def test_relative_closedness_becomes_an_absolute_opening(closedness: list[float], opening: list[float]):
    stored = np.array(closedness, np.float32).astype(np.float64)
    assert absolute_opening(stored).tolist() == opening


@given(arrays(np.float64, st.integers(0, 12), elements=st.sampled_from([-1.0, -0.2, -0.05, 0.0, 0.05, 0.2, 1.0])))
def test_the_opening_is_that_of_the_last_command(closedness: np.ndarray):
    commands = [value for value in closedness if abs(value) > 0.1]
    held = float(commands[0] > 0) if commands else 1.0
    for value, opening in zip(closedness, absolute_opening(closedness), strict=True):
        held = float(value < 0) if abs(value) > 0.1 else held
        assert opening == held


def test_the_measured_opening_is_one_minus_closed_and_follows_the_command(tmp_path: Path):
    arm = outcome_of(write(tmp_path)).right
    assert arm.gripper_open.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert arm.action.gripper_open.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


# -------------------------------------------------------------------------------------------------- rows and motion


@pytest.mark.parametrize(
    ("flagged", "num_kept"), [([7], 8), ([3], 4), ([3, 4, 5, 6, 7], 4), ([2, 6], 3), ([0], 1), ([], 8)]
)
def test_steps_end_with_the_first_that_terminates(tmp_path: Path, flagged: list[int], num_kept: int):
    steps = steps_of(write(tmp_path))
    ends = np.tile([0, 1, 0], (8, 1))
    ends[flagged] = [1, 0, 0]
    kept = replace(steps, terminate=ends).until_terminate()
    np.testing.assert_array_equal(kept.tool_pose, steps.tool_pose[:num_kept])
    assert list(kept.images) == list(steps.images[:num_kept])
    assert len(kept.texts) == len(kept.closedness_action) == num_kept


def test_the_third_terminate_column_does_not_end_an_episode(tmp_path: Path):
    steps = replace(steps_of(write(tmp_path)), terminate=np.tile([0, 0, 1], (8, 1)))
    assert len(steps.until_terminate().images) == 8


def test_the_pose_is_a_quaternion_x_y_z_w(tmp_path: Path):
    pose = np.tile([0.1, 0.2, 0.3, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)], (8, 1))
    arm = outcome_of(write(tmp_path), tool_pose=pose).right
    np.testing.assert_allclose(arm.rotation[0] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(arm.xyz_m, pose[:, :3])


def test_motion_is_the_command_in_the_base_frame_and_leads_to_the_next_pose(tmp_path: Path):
    episode = outcome_of(write(tmp_path))
    arm, motion = episode.right, episode.right.action.motion
    assert isinstance(motion, PoseDelta)
    np.testing.assert_allclose(arm.xyz_m[:-1] + motion.xyz_m[:-1], arm.xyz_m[1:], atol=1e-6)
    np.testing.assert_allclose(motion.rotation[:-1] @ arm.rotation[:-1], arm.rotation[1:], atol=1e-6)


def test_the_turn_is_roll_pitch_yaw_about_fixed_axes(tmp_path: Path):
    angles = np.tile([0.4, -0.3, 0.9], (8, 1))
    turn = outcome_of(write(tmp_path), rotation_delta_rad=angles).right.action.motion.rotation[0]
    about = [Rotation.from_rotvec(np.eye(3)[axis] * angles[0, axis]).as_matrix() for axis in range(3)]
    np.testing.assert_allclose(turn, about[2] @ about[1] @ about[0], atol=1e-12)


def test_a_base_that_never_moves_is_absent(tmp_path: Path):
    assert outcome_of(write(tmp_path)).base is None


@pytest.mark.parametrize(("key", "column"), [("vector", 0), ("vector", 1), ("vertical_rotation", 2)])
def test_a_base_that_moves_once_is_an_action_in_every_row(tmp_path: Path, key: str, column: int):
    width = 2 if key == "vector" else 1
    moved = np.zeros((8, width))
    moved[5, column % 2 if key == "vector" else 0] = 0.25
    base = outcome_of(write(tmp_path, **{f"steps/action/base_displacement_{key}": moved})).base
    assert base.pose is None
    expected = np.zeros((8, 3))
    expected[5, column] = 0.25
    np.testing.assert_array_equal(base.delta, expected)


# --------------------------------------------------------------------------------------------------------- encodings


def measured(tree: FsspecTree) -> tuple[np.ndarray, np.ndarray]:
    steps = steps_of(tree)
    return steps.tool_pose, steps.gripper_closed


def with_features(tree: FsspecTree, encoding: TensorEncoding) -> FsspecTree:
    """Let features.json tell another encoding than that of the bytes."""
    features = toy_features(tool_pose=POSE, image_size=(256, 320), observation_encoding=encoding)
    (Path(tree.root) / RELEASE / "features.json").write_text(dump_features(features))
    return tree


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (TensorEncoding.NONE, TensorEncoding.NONE),
        (TensorEncoding.ZLIB, TensorEncoding.ZLIB),
        (TensorEncoding.BYTES, TensorEncoding.BYTES),
        (TensorEncoding.ZLIB, TensorEncoding.NONE),
        (TensorEncoding.NONE, TensorEncoding.ZLIB),
    ],
)
def test_numbers_are_read_as_they_lie_whatever_the_features_tell(
    tmp_path: Path, stored: TensorEncoding, told: TensorEncoding
):
    plain = measured(write(tmp_path / "plain"))
    assert plain[0].shape == (8, 7)
    assert np.abs(plain[0]).min(axis=0).max() > 0
    for ours, expected in zip(measured(with_features(write(tmp_path / "x", stored), told)), plain, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_deflated_actions_are_read_too(tmp_path: Path):
    plain = steps_of(write(tmp_path / "plain"))
    for path, width in (("world_vector", 3), ("gripper_closedness_action", 1)):
        values = {"world_vector": plain.world_vector_m, "gripper_closedness_action": plain.closedness_action}[path]
        rows = values.reshape(-1, width).astype(np.float32)
        deflated = [zlib.compress(row.tobytes()) for row in rows]
        steps = steps_of(write(tmp_path / path, **{f"steps/action/{path}": deflated}))
        np.testing.assert_array_equal(steps.world_vector_m, plain.world_vector_m)
        np.testing.assert_array_equal(steps.closedness_action, plain.closedness_action)


def test_a_key_with_a_slash_in_features_json_is_the_same_key(tmp_path: Path):
    tree = write(tmp_path, TensorEncoding.ZLIB)
    expected = measured(tree)
    path = tmp_path / RELEASE / "features.json"
    root = json.loads(path.read_text())
    steps = root["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    observation = steps["observation"]["featuresDict"]["features"]
    observation["inner/pose"] = observation.pop("inner")["featuresDict"]["features"]["pose"]
    path.write_text(json.dumps(root))
    for ours, theirs in zip(measured(tree), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tfds_decodes_deflated_steps_to_the_same_values(tmp_path: Path):
    tree = write(tmp_path, TensorEncoding.ZLIB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets

        features = tensorflow_datasets.builder_from_directory(tree.local_path(RELEASE)).info.features
        record, ours = first_record(tree), steps_of(tree)
        raw = next(read_records(tree.local_path(record.file), name=record.file))
        parsed = features._example_parser_np.parse_example(raw)["steps"]
        observed = features["steps"]["observation"]
    pose = [observed["inner"]["pose"].decode_example_np(step) for step in parsed["observation"]["inner"]["pose"]]
    closed = [observed["gripper_closed"].decode_example_np(x) for x in parsed["observation"]["gripper_closed"]]
    np.testing.assert_array_equal(ours.tool_pose, pose)
    np.testing.assert_array_equal(ours.gripper_closed[:, None], closed)
    np.testing.assert_array_equal(ours.world_vector_m, parsed["action"]["world_vector"])
    np.testing.assert_array_equal(ours.terminate, parsed["action"]["terminate_episode"])


# ------------------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (POSE, (7, 7)),
        (CLOSED, (9, 1)),
        ("steps/action/world_vector", (7, 3)),
        ("steps/action/terminate_episode", (7, 3)),
    ],
)
def test_values_that_do_not_line_up_fail_the_episode(tmp_path: Path, path: str, shape: tuple[int, int]):
    dtype = np.int64 if "terminate" in path else np.float64
    tree = write(tmp_path, **{path: np.zeros(shape, dtype)})
    with pytest.raises(EpisodeError, match=rf"#00000: .*{path} has shape \({shape[0]}, {shape[1]}\)"):
        steps_of(tree)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "field",
    [
        "tool_pose",
        "gripper_closed",
        "world_vector_m",
        "rotation_delta_rad",
        "closedness_action",
        "base_displacement",
    ],
)
def test_what_is_not_a_number_drops_the_episode(tmp_path: Path, field: str, value: float):
    tree = write(tmp_path)
    values = getattr(steps_of(tree), field).copy()
    values[5] = value
    found = outcome_of(tree, **{field: values})
    assert isinstance(found, Drop)
    assert found.reason is Reason.NONFINITE
    assert found.detail.endswith("at step 5")


@pytest.mark.parametrize("norm", [0.0, 0.01, 1e30])
def test_a_quaternion_of_another_norm_drops_the_episode(tmp_path: Path, norm: float):
    tree = write(tmp_path)
    pose = steps_of(tree).tool_pose.copy()
    pose[2, 3:] = norm, 0, 0, 0
    found = outcome_of(tree, tool_pose=pose)
    assert isinstance(found, Drop)
    assert found.detail == f"tool pose has a quaternion of norm {norm:g} in row 2, expected 1"


def test_an_episode_without_steps_has_no_rows(tmp_path: Path):
    empty = {field: getattr(steps_of(write(tmp_path)), field)[:0] for field in GoogleSteps.__slots__}
    assert len(outcome_of(FsspecTree(str(tmp_path)), **empty).step_index) == 0


def test_absent_keys_are_named_before_anything_is_read(tmp_path: Path):
    tree = write(tmp_path)
    with pytest.raises(
        RequestError, match=r"robot/0.1.0/features.json in .* lacks steps/depth, success: it is another"
    ):
        open_google_dataset(tree, RELEASE, required=[POSE, "steps/depth", "success"])


# --------------------------------------------------------------------------------------------- what the episode says


def test_frames_and_texts_are_those_of_the_steps(tmp_path: Path):
    texts = [b"", b"open it", b"open it", b"close it", b"open it", b"", b"", b""]
    tree = write(tmp_path, **{"steps/observation/natural_language_instruction": texts})
    episode = outcome_of(tree)
    frames = episode.cameras[CameraRole.PRIMARY].read([0, 3, 7], ResizeMode.PLAIN)
    assert [frame.data[-1] for frame in frames] == [0, 3, 7]
    assert [(text.text, text.origin) for text in episode.instructions] == [
        ("open it", "template"),
        ("close it", "template"),
    ]


def test_an_episode_without_text_has_the_empty_one(tmp_path: Path):
    tree = write(tmp_path, **{"steps/observation/natural_language_instruction": [b" "] * 8})
    assert [text.text for text in outcome_of(tree).instructions] == [""]


def test_the_split_is_open_only_where_the_release_has_no_val(tmp_path: Path):
    tree = write(tmp_path)
    assert outcome_of(tree).split is None
    dataset = open_google_dataset(tree, RELEASE, required=[])
    shards = (*dataset.shards, replace(dataset.shards[0], split=Split.VAL))
    found = to_outcome(
        first_record(tree),
        steps_of(tree),
        info=fractal.INFO,
        dataset=replace(dataset, shards=shards),
        hz=3.0,
        text_origin="template",
    )
    assert found.split is Split.TRAIN
