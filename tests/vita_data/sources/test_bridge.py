"""Bridge: both releases, its row rules, gripper rules and reached targets, on toy and real files."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vita_data.errors import RequestError, SourceError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset, read_shard
from vita_data.formats.rlds.features import FeatureSpec
from vita_data.formats.rlds.tfrecord import read_records
from vita_data.formats.rlds.write import write_rlds
from vita_data.formats.toy import read_toy_frame
from vita_data.geometry import euler_xyz_from_matrix, integrate_deltas, matrix_from_euler_xyz, rotation_delta
from vita_data.sources import bridge
from vita_data.types import Arm, CameraRole, Drop, Episode, Failure, JpegFrame, Outcome, Reason, ResizeMode, Split

REAL_DATA = "VITA_REAL_DATA"
NEW = "bridge_dataset/1.0.0"
OLD = "bridge/0.1.0"
needs_real_data = pytest.mark.skipif(REAL_DATA not in os.environ, reason=f"{REAL_DATA} is not set")


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("flat")
    bridge.write_toy(str(root))
    return FsspecTree(str(root))


@pytest.fixture(scope="module")
def oxe(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("oxe")
    bridge._write_toy_oxe(str(root))
    return FsspecTree(str(root))


def real() -> FsspecTree:
    return FsspecTree(str(Path(os.environ[REAL_DATA]) / "bridge_rlds"))


def read(tree: FsspecTree, settings: bridge.Settings | None = None) -> list[Outcome]:
    settings = settings or bridge.Settings()
    return [outcome for part in bridge.parts(tree, settings) for outcome in bridge.episodes(tree, part, settings)]


def records(tree: FsspecTree, release: str) -> Iterator[object]:
    dataset = open_dataset(tree, release)
    for shard in sorted(dataset.shards, key=lambda shard: shard.path):
        yield from read_shard(tree, dataset, shard.path)


def write_tiny(root: Path, num_steps: int, **changes: object) -> FsspecTree:
    """Write one flat episode of `num_steps` with a numbered byte string a frame."""
    number = np.arange(num_steps, dtype=np.float64)
    features = {
        "steps/action": FeatureSpec(shape=(7,), num_levels=1),
        "steps/observation/state": FeatureSpec(shape=(7,), num_levels=1),
        "steps/language_instruction": FeatureSpec(kind="text", dtype="string", num_levels=1),
        "steps/observation/image_0": FeatureSpec(kind="image", dtype="uint8", shape=(256, 256, 3), num_levels=1),
    }
    values = {
        "steps/action": np.ones((num_steps, 7)),
        "steps/observation/state": np.column_stack([number / 100] * 6 + [number / 50]),
        "steps/language_instruction": [b"lift it up"] * num_steps,
        "steps/observation/image_0": [b"\xff\xd8\xff" + bytes([step]) for step in range(num_steps)],
    } | changes
    write_rlds(str(root), release=NEW, features=features, splits={"train": [[values]]})
    return FsspecTree(str(root))


# ------------------------------------------------------------------------------------------------------------ rows


def check_rows(tree: FsspecTree, release: str) -> int:
    """Compare each episode's rows with the raw steps 1..T-2, written out here without the source's code."""
    count = 0
    for outcome, record in zip(read(tree), records(tree, release), strict=True):
        state = record.floats("steps/observation/state")
        assert isinstance(outcome, Episode)
        assert outcome.step_index.tolist() == list(range(1, len(state) - 1))
        assert outcome.cameras.keys() == {CameraRole.PRIMARY}
        assert outcome.cameras[CameraRole.PRIMARY].num_frames == len(state) - 2
        arm = outcome.right
        np.testing.assert_array_equal(arm.xyz_m, state[1:-1, :3])
        np.testing.assert_array_equal(arm.gripper_open, state[1:-1, 6])
        np.testing.assert_array_equal(arm.action.motion.xyz_m, state[2:, :3])
        assert set(arm.action.gripper_open) <= {0.0, 1.0}
        check_integration(arm, final=state[-1])
        count += 1
    return count


def check_integration(arm: Arm, final: np.ndarray) -> None:
    """Compose deltas from pose to target and integrate them: every later recorded pose and the last one come back."""
    target = arm.action.motion
    deltas = np.column_stack(
        [target.xyz_m - arm.xyz_m, euler_xyz_from_matrix(rotation_delta(arm.rotation, target.rotation))]
    )
    assert np.abs(deltas[:, 3:]).max() < 1.0
    positions, rotations = integrate_deltas(arm.xyz_m[0], arm.rotation[0], deltas)
    np.testing.assert_allclose(positions[:-1], arm.xyz_m, atol=1e-9)
    np.testing.assert_allclose(rotations[:-1], arm.rotation, atol=1e-9)
    np.testing.assert_allclose(positions[-1], final[:3], atol=1e-9)
    np.testing.assert_allclose(rotations[-1], matrix_from_euler_xyz(final[3:6]), atol=1e-9)


def test_rows_of_the_flat_release_integrate_to_the_recorded_poses(flat: FsspecTree):
    assert check_rows(flat, NEW) == 8


def test_rows_of_the_oxe_release_integrate_to_the_recorded_poses(oxe: FsspecTree):
    assert check_rows(oxe, OLD) == 3


@pytest.mark.parametrize(
    ("recorded", "kept"),
    [
        ("/nfs/kun2/users/x/bridge_data_v1/lab/sink//./out.npy", "bridge_data_v1/lab/sink/out.npy"),
        ("/a/b/c/d/e/out.npy", "c/d/e/out.npy"),
        ("/out.npy", "out.npy"),
        ("", ""),
    ],
)
def test_a_recorded_path_starts_at_the_data_or_keeps_its_last_folders(recorded: str, kept: str):
    assert bridge._below_data_root(recorded) == kept


def test_the_toy_has_roll_on_both_sides_of_pi(flat: FsspecTree):
    roll = next(iter(records(flat, NEW))).floats("steps/observation/state")[:, 3]
    assert np.abs(np.diff(roll)).max() > 6.0


@needs_real_data
def test_rows_of_the_real_files_integrate_to_the_recorded_poses():
    assert check_rows(real(), NEW) == 50


@pytest.mark.parametrize(("num_steps", "num_rows"), [(0, None), (1, None), (2, None), (3, 1), (4, 2)])
def test_an_episode_has_two_rows_fewer_than_steps(tmp_path: Path, num_steps: int, num_rows: int | None):
    (outcome,) = read(write_tiny(tmp_path, num_steps))
    if num_rows is None:
        assert isinstance(outcome, Drop)
        assert outcome.reason is Reason.SHORT
    else:
        assert isinstance(outcome, Episode)
        assert len(outcome.step_index) == len(outcome.right.xyz_m) == len(outcome.right.action.gripper_open) == num_rows


def test_values_that_do_not_line_up_fail_the_episode(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path, 6, **{"steps/action": np.ones((5, 7))}))
    assert isinstance(outcome, Failure)
    assert "6 frames, 6 states and 5 actions" in outcome.detail


def test_nan_is_read_through(tmp_path: Path):
    action, state = np.ones((6, 7)), np.zeros((6, 7))
    action[3, 6] = state[4, 4] = np.nan
    (outcome,) = read(write_tiny(tmp_path, 6, **{"steps/action": action, "steps/observation/state": state}))
    assert np.isnan(outcome.right.action.gripper_open).tolist() == [False, False, True, False]
    assert np.isnan(outcome.right.rotation).any(axis=(1, 2)).tolist() == [False, False, False, True]


# --------------------------------------------------------------------------------------------------------- gripper


@pytest.mark.parametrize(
    ("raw", "row_values"),
    [
        ([1, 1, 1, 0, 0, 0], [1, 1, 0, 0]),
        ([0, 0.96, 0.94, 0.06, 0.04, 1], [1, 0, 0, 0]),  # in-between takes the next decided value
        ([0, 0.5, 0.5, 0.99, 0.5, 0.02], [1, 1, 1, 0]),
        ([0, 0, 1, 0.5, 0.25, 0.5], [0, 1, 0.5, 0.5]),  # a trailing block takes the last raw action
        ([0, 0, 1, 0.5, 0.5, 0.25], [0, 1, 0.25, 0.25]),  # which may be that of the dropped last step
        ([0, 0.5, 0.5, 0.5, 0.5, 1.0], [1, 1, 1, 1]),  # the dropped last step still decides
        ([1, 0.5, 0.4, 0.4, 0.4, 0.4], [0.4, 0.4, 0.4, 0.4]),  # the placeholder step decides nothing
        ([0, 0.95, 0.95, 0.95, 0.95, 0.5], [0.5, 0.5, 0.5, 0.5]),  # the thresholds themselves are in between
        ([0, 0.05, 0.94, 0.06, 0.04, 1], [0, 0, 0, 0]),
    ],
)
def test_the_gripper_command_is_binary_but_at_an_undecided_end(
    tmp_path: Path, raw: list[float], row_values: list[float]
):
    action = np.zeros((6, 7))
    action[:, 6] = raw
    (outcome,) = read(write_tiny(tmp_path, 6, **{"steps/action": action}))
    assert outcome.right.action.gripper_open.tolist() == pytest.approx(row_values)


def test_the_oxe_gripper_is_open_gripper_of_the_row(oxe: FsspecTree):
    for outcome, record in zip(read(oxe), records(oxe, OLD), strict=True):
        opened = record.ints("steps/action/open_gripper")
        assert 0 < opened.sum() < len(opened)
        np.testing.assert_array_equal(outcome.right.action.gripper_open, opened[1:-1])


@needs_real_data
def test_real_gripper_commands_precede_the_measured_opening():
    """Probe P3: the opening correlates with the command, so 1 is open in both."""
    arms = [outcome.right for outcome in read(real())]
    command = np.concatenate([arm.action.gripper_open for arm in arms])
    opening = np.concatenate([arm.gripper_open for arm in arms])
    assert opening[command == 1].mean() > opening[command == 0].mean() + 0.2


# ---------------------------------------------------------------------------------------------------------- frames


def test_frame_marks_say_the_row_s_step(flat: FsspecTree):
    for number, outcome in enumerate(read(flat)):
        rows = range(0, len(outcome.step_index), 7)
        frames = outcome.cameras[CameraRole.PRIMARY].read(rows, ResizeMode.PLAIN)
        for row, frame in zip(rows, frames, strict=True):
            mark = read_toy_frame(decode(frame.data))
            assert (mark.step, mark.episode) == (outcome.step_index[row], number)
            assert mark.upright
            assert mark.rgb


def decode(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def check_passthrough(tree: FsspecTree, release: str, image: str) -> None:
    for outcome, record in zip(read(tree), records(tree, release), strict=True):
        rows = range(len(outcome.step_index))
        frames = list(outcome.cameras[CameraRole.PRIMARY].read(rows, ResizeMode.PLAIN))
        assert frames == [JpegFrame(data) for data in record.byte_strings(image)[1:-1]]


def test_jpeg_bytes_pass_through(flat: FsspecTree, oxe: FsspecTree):
    check_passthrough(flat, NEW, "steps/observation/image_0")
    check_passthrough(oxe, OLD, "steps/observation/image")


@needs_real_data
def test_real_jpeg_bytes_pass_through():
    check_passthrough(real(), NEW, "steps/observation/image_0")


# -------------------------------------------------------------------------------------------------- text and names


def test_texts_are_read_as_they_are_even_empty(flat: FsspecTree):
    texts = [outcome.instructions for outcome in read(flat)]
    assert texts[0][0].text == "put the carrot on the plate"
    assert [text[0].text for text in texts].count("") == 1
    assert all(len(text) == 1 and text[0].origin == "human" for text in texts)


def test_a_text_that_changes_is_kept_once_each(tmp_path: Path):
    texts = [b"", b"open it", b"open it", b"close it", b"open it", b""]
    (outcome,) = read(write_tiny(tmp_path, 6, **{"steps/language_instruction": texts}))
    assert [instruction.text for instruction in outcome.instructions] == ["open it", "close it"]


def test_ids_provenance_and_splits(flat: FsspecTree):
    found = read(flat)
    assert len({outcome.id for outcome in found}) == 8
    first, last = found[0], found[-1]
    assert first.id == f"{NEW}/bridge_dataset-train.tfrecord-00000-of-00002#00000"
    assert first.provenance == {"file": first.id[:-6], "record": 0, "file_path": "toysink/task_0/out.npy"}
    assert (first.release, first.hz, first.split, last.split) == (NEW, 5.0, Split.TRAIN, Split.VAL)
    assert [outcome.id for outcome in read(flat)] == [outcome.id for outcome in found]


def test_the_test_split_of_the_oxe_release_is_val(oxe: FsspecTree):
    assert [outcome.split for outcome in read(oxe)] == [Split.VAL, Split.TRAIN, Split.TRAIN]


def test_the_rate_can_be_set(flat: FsspecTree):
    assert read(flat, bridge.Settings(hz=10.0))[0].hz == 10.0


# -------------------------------------------------------------------------------------------- releases and damage


@pytest.fixture
def both(tmp_path: Path, flat: FsspecTree, oxe: FsspecTree) -> FsspecTree:
    for tree in (flat, oxe):
        for folder in Path(tree.root).iterdir():
            (tmp_path / folder.name).symlink_to(folder)
    return FsspecTree(str(tmp_path))


def test_two_releases_need_a_choice(both: FsspecTree):
    with pytest.raises(RequestError, match=f"{OLD} and {NEW}; choose one with --set release={OLD}"):
        bridge.parts(both, bridge.Settings())


@pytest.mark.parametrize(("release", "num_episodes"), [(NEW, 8), (OLD, 3)])
def test_the_chosen_release_is_read(both: FsspecTree, release: str, num_episodes: int):
    found = read(both, bridge.Settings(release=release))
    assert len(found) == num_episodes
    assert {outcome.release for outcome in found} == {release}


def test_a_renamed_release_is_found(tmp_path: Path, flat: FsspecTree):
    (tmp_path / "bridge_orig").symlink_to(Path(flat.root) / "bridge_dataset")
    (part, *_) = bridge.parts(FsspecTree(str(tmp_path)), bridge.Settings())
    assert part.id.startswith("bridge_orig/1.0.0/bridge_dataset-train")


def test_an_empty_tree_says_what_was_looked_for(tmp_path: Path):
    with pytest.raises(RequestError, match=r"expected <name>/<version>/dataset_info.json with name bridge or"):
        bridge.parts(FsspecTree(str(tmp_path)), bridge.Settings())


def test_another_dataset_under_bridge_s_name_is_refused(tmp_path: Path):
    write_rlds(
        str(tmp_path),
        release=NEW,
        features={"steps/reward": FeatureSpec(num_levels=1)},
        splits={"train": [[{"steps/reward": np.zeros(3)}]]},
    )
    with pytest.raises(RequestError, match="not a Bridge release"):
        bridge.parts(FsspecTree(str(tmp_path)), bridge.Settings())


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_truncated_file_keeps_what_was_whole_and_counts_the_rest(tmp_path: Path, fraction: float):
    bridge.write_toy(str(tmp_path))
    tree = FsspecTree(str(tmp_path))
    part = bridge.parts(tree, bridge.Settings())[0]
    path = tmp_path / part.id
    path.write_bytes(path.read_bytes()[: int(part.num_bytes * fraction)])
    found = list(bridge.episodes(tree, part, bridge.Settings()))
    kept = [outcome for outcome in found if isinstance(outcome, Episode)]
    failed = [outcome for outcome in found if isinstance(outcome, Failure)]
    assert len(kept) == int(3 * fraction)
    assert [outcome.id for outcome in kept] + [outcome.episode for outcome in failed] == [
        f"{part.id}#{index:05d}" for index in range(3)
    ]
    assert all(f"record {len(kept)}: truncated" in outcome.detail for outcome in failed)


def test_an_unlisted_part_is_a_source_error(flat: FsspecTree):
    part = bridge.parts(flat, bridge.Settings())[0]
    other = type(part)(id=f"{NEW}/other", num_bytes=0, num_episodes=None)
    with pytest.raises(SourceError, match="the file is not listed in "):
        list(bridge.episodes(flat, other, bridge.Settings()))


# -------------------------------------------------------------------------------------------------------- toy tree


def test_the_toy_is_small_and_the_same_each_time(tmp_path: Path, flat: FsspecTree):
    bridge.write_toy(str(tmp_path))
    files = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = Path(flat.root)
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert sum(map(len, files.values())) < 6e6


def test_the_toy_has_the_quirks_of_the_real_files(flat: FsspecTree):
    found = list(records(flat, NEW))
    assert all(np.abs(record.floats("steps/action")[0, :6]).max() < 1e-9 for record in found)
    assert [int(record.ints("steps/is_last").sum()) for record in found].count(0) == 1
    assert sum(len(record.ints("steps/is_last")) < 13 for record in found) == 1


@pytest.mark.parametrize("release", [NEW, OLD])
def test_tfds_decodes_the_toy_to_the_same_steps(both: FsspecTree, release: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets

        features = tensorflow_datasets.builder_from_directory(both.local_path(release)).info.features
    dataset = open_dataset(both, release)
    path = dataset.shards[0].path
    raw = next(read_records(both.local_path(path), name=path))
    record = next(read_shard(both, dataset, path))
    steps = list(features.deserialize_example_np(raw)["steps"])
    np.testing.assert_array_equal(
        record.floats("steps/observation/state"), [step["observation"]["state"] for step in steps]
    )
    name = "image_0" if release == NEW else "image"
    theirs = [step["observation"][name] for step in steps[:5]]
    ours = [decode(data) for data in record.byte_strings(f"steps/observation/{name}")[:5]]
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 2
