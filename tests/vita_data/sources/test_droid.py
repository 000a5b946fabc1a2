"""DROID: metric targets instead of unitless velocities, its reversed gripper, idle and failed episodes, cameras."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from scipy.spatial.transform import Rotation

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset, read_shard
from vita_data.formats.rlds.features import FeatureSpec
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import write_rlds
from vita_data.formats.toy import read_toy_frame, toy_jpeg
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.vectors import arm_delta
from vita_data.sources import droid
from vita_data.types import CameraRole, Drop, Episode, Failure, Gaps, Outcome, PoseTarget, Reason, ResizeMode

RELEASE = "droid/1.0.1"
SUCCESS = b"gs://bucket/r2d2/full/AUTOLab/success/2023-07-07/Fri_Jul_7/trajectory.h5"
JPEG = toy_jpeg(np.zeros((8, 8, 3), np.uint8))
"""An image; what a test writes after it, no decoder looks at."""
EVERY_STEP = droid.Settings(idle=droid.IdleFilter.NONE)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("droid")
    droid.write_toy(str(root))
    return FsspecTree(str(root))


def read(tree: FsspecTree, settings: droid.Settings | None = None) -> list[Outcome]:
    settings = settings or droid.Settings()
    return [outcome for part in droid.parts(tree, settings) for outcome in droid.episodes(tree, part, settings)]


def records(tree: FsspecTree) -> dict[str, RldsRecord]:
    dataset = open_dataset(tree, RELEASE)
    found = [record for shard in dataset.shards for record in read_shard(tree, dataset, shard.path)]
    return {record.id: record for record in found}


def tiny_record(num_steps: int, **changes: object) -> dict[str, object]:
    """Describe an episode whose joint velocity never repeats and whose frames name their camera and step."""
    sizes = {"cartesian_position": 6, "gripper_position": 1, "joint_position": 7}
    speed = np.arange(num_steps)[:, None] * np.full(7, 0.1)
    return {
        **{f"steps/observation/{key}": np.zeros((num_steps, size)) for key, size in sizes.items()},
        **{f"steps/action_dict/{key}": np.zeros((num_steps, size)) for key, size in sizes.items()},
        "steps/action_dict/joint_velocity": speed,
        **{
            f"steps/observation/{key}": [JPEG + f"{key} {step}".encode() for step in range(num_steps)]
            for key in ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left")
        },
        "steps/language_instruction": [b"Put the marker in the pot"] * num_steps,
        "episode_metadata/file_path": [SUCCESS],
    } | {f"steps/{key}" if key.count("/") == 1 and "metadata" not in key else key: to for key, to in changes.items()}


def write_tiny(root: Path, *episodes: dict[str, object], release: str = RELEASE) -> FsspecTree:
    def spec(key: str, value: object) -> FeatureSpec:
        num_levels = int(key.startswith("steps"))
        if isinstance(value, np.ndarray):
            return FeatureSpec(dtype="float64", shape=value.shape[1:], num_levels=num_levels)
        return FeatureSpec(kind="text", dtype="string", num_levels=num_levels)

    features = {key: spec(key, value) for key, value in episodes[0].items()}
    write_rlds(str(root), release=release, features=features, splits={"train": [list(episodes)]})
    return FsspecTree(str(root))


def rows_for(root: Path, idle_steps: list[int], num_steps: int) -> list[int]:
    """Read an episode that is idle in the given steps; return its rows, none if it is dropped for being idle."""
    change = np.full((num_steps, 7), 0.1)
    change[idle_steps] = 0.0005
    velocity = np.cumsum(change, axis=0)
    (outcome,) = read(write_tiny(root, tiny_record(num_steps, **{"action_dict/joint_velocity": velocity})))
    if isinstance(outcome, Drop):
        assert outcome.reason is Reason.IDLE
        return []
    return outcome.step_index.tolist()


# ---------------------------------------------------------------------------------------------------------- actions


def test_motion_is_the_commanded_pose_never_the_unitless_velocity(toy: FsspecTree):
    """The release's velocity is a share of 0.075 m and 0.15 rad a step: the motion must be its multiple."""
    by_id, seen = records(toy), 0
    for outcome in read(toy):
        if isinstance(outcome, Drop):
            continue
        record, arm = by_id[outcome.id], outcome.right
        assert isinstance(arm.action.motion, PoseTarget)
        target = record.floats("steps/action_dict/cartesian_position")[outcome.step_index]
        velocity = record.floats("steps/action_dict/cartesian_velocity")[outcome.step_index]
        np.testing.assert_array_equal(arm.action.motion.xyz_m, target[:, :3])
        delta = arm_delta(arm, arm.action)
        np.testing.assert_allclose(delta, velocity * np.repeat([0.075, 0.15], 3), atol=1e-5)
        assert np.abs(velocity[:, :3]).max() > 3 * np.abs(delta[:, :3]).max()
        seen += 1
    assert seen == 4


def test_a_roll_that_wraps_is_no_full_turn(tmp_path: Path):
    pose, target = np.zeros((20, 6)), np.zeros((20, 6))
    pose[:, 3], target[:, 3] = np.pi - 0.01, -np.pi + 0.02
    changes = {"observation/cartesian_position": pose, "action_dict/cartesian_position": target}
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **changes)))
    np.testing.assert_allclose(arm_delta(outcome.right, outcome.right.action)[:, 3:], [[0.03, 0, 0]] * 10, atol=1e-6)


def test_the_toy_has_roll_on_both_sides_of_pi(toy: FsspecTree):
    roll = [record.floats("steps/observation/cartesian_position")[:, 3] for record in records(toy).values()]
    assert max(np.abs(np.diff(angles)).max() for angles in roll) > 6.0


def test_poses_are_extrinsic_xyz_euler(tmp_path: Path):
    pose = np.tile([0.4, 0.1, 0.3, 2.9, 0.3, -0.7], (20, 1))
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **{"observation/cartesian_position": pose})))
    expected = Rotation.from_euler("xyz", [2.9, 0.3, -0.7]).as_matrix()
    np.testing.assert_allclose(outcome.right.rotation[0], expected, atol=1e-6)


def test_gripper_1_is_open_and_joints_are_the_commanded_ones(tmp_path: Path):
    command, state = np.linspace(0, 1, 20)[:, None], np.linspace(0, 0.5, 20)[:, None]
    joints = np.arange(140.0).reshape(20, 7)
    changes = {
        "action_dict/gripper_position": command,
        "observation/gripper_position": state,
        "action_dict/joint_position": joints,
        "observation/joint_position": joints - 1,
    }
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **changes)))
    arm = outcome.right
    np.testing.assert_allclose(arm.action.gripper_open, 1 - command[:10, 0], atol=1e-6)
    np.testing.assert_allclose(arm.gripper_open, 1 - state[:10, 0], atol=1e-6)
    np.testing.assert_array_equal(arm.action.joint_target_rad, joints[:10])
    np.testing.assert_array_equal(arm.joint_position_rad, joints[:10] - 1)
    assert arm.joint_velocity_rad_s is None


# ------------------------------------------------------------------------------------------------------ idle filter


@pytest.mark.parametrize(
    ("idle_steps", "num_steps", "expected"),
    [
        ([], 30, [*range(20)]),  # the last 10 are trimmed
        ([], 16, [*range(6)]),
        ([], 15, []),  # too short a run
        ([*range(16, 23)], 40, [*range(6), *range(23, 30)]),  # 7 idle steps split it
        ([*range(16, 22)], 40, [*range(30)]),  # 6 do not
        ([*range(16, 23)], 38, [*range(6)]),  # the second run has 15
        ([*range(15, 22)], 38, [*range(22, 28)]),  # the first has 15
        ([*range(7)], 30, [*range(20)]),  # the first step is never idle: 6 idle ones follow
        ([*range(8)], 30, [*range(8, 20)]),  # 7 follow, and the first alone is too short a run
        ([*range(1, 30)], 30, []),
    ],
)
def test_rows_are_those_that_openpi_keeps(tmp_path: Path, idle_steps: list[int], num_steps: int, expected: list[int]):
    assert rows_for(tmp_path, idle_steps, num_steps) == expected


def test_one_moving_joint_is_enough_not_to_be_idle(tmp_path: Path):
    velocity = np.zeros((30, 7))
    velocity[:, 4] = np.arange(30) * 0.0011
    (outcome,) = read(write_tiny(tmp_path, tiny_record(30, **{"action_dict/joint_velocity": velocity})))
    assert len(outcome.step_index) == 20


def test_the_filter_can_be_turned_off(toy: FsspecTree):
    found = read(toy, EVERY_STEP)
    assert [len(outcome.step_index) for outcome in found if isinstance(outcome, Episode)] == [28, 58, 26, 18, 26]
    assert [outcome.reason for outcome in found if isinstance(outcome, Drop)] == [Reason.UNSUCCESSFUL]


def test_removed_steps_leave_a_gap_that_ends_an_action_chunk(toy: FsspecTree):
    outcome = read(toy)[1]
    assert outcome.step_index.tolist() == [*range(16), *range(34, 48)]
    assert outcome.gaps is Gaps.BREAK


def test_frames_and_values_follow_the_rows(toy: FsspecTree):
    outcome = read(toy)[1]
    record = records(toy)[outcome.id]
    pose = record.floats("steps/observation/cartesian_position")
    np.testing.assert_array_equal(outcome.right.xyz_m, pose[outcome.step_index, :3])
    for role, stream in outcome.cameras.items():
        assert stream.num_frames == len(outcome.step_index), role
        (frame,) = stream.read([20], ResizeMode.PLAIN)
        assert read_toy_frame(square(frame.data)).step == outcome.step_index[20] == 38


def square(jpeg: bytes) -> np.ndarray:
    """Sample a wide frame so that its cells are square, as a toy mark wants them."""
    pixels = np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"))
    return pixels[:, np.linspace(0, pixels.shape[1] - 1, pixels.shape[0]).astype(int)]


# ------------------------------------------------------------------------------------------- success, texts, cameras


def test_failures_idle_and_textless_episodes_are_dropped_with_their_reasons(toy: FsspecTree):
    reasons = []
    for outcome in read(toy):
        found = outcome
        if isinstance(outcome, Episode):
            found = normalize(outcome, droid.INFO, droid.Settings(), FrameSelection.KEYFRAMES)
        reasons.append(found.reason if isinstance(found, Drop) else "ok")
    assert reasons == ["ok", "ok", "ok", Reason.UNSUCCESSFUL, Reason.IDLE, Reason.EMPTY]


def test_any_of_the_three_texts_will_do_and_all_are_kept(toy: FsspecTree):
    texts = [[text.text for text in outcome.instructions] for outcome in read(toy) if isinstance(outcome, Episode)]
    assert texts[0] == ["Put the marker in the pot", "Place the pen inside the cup"]
    assert texts[2] == ["Close the top drawer"]
    assert texts[3] == [""]


def test_the_first_exterior_camera_is_primary_in_about_half_of_the_episodes(tmp_path: Path):
    tree = write_tiny(tmp_path, *[tiny_record(17) for _ in range(60)])
    chosen = []
    for outcome in read(tree):
        names = {}
        for role, stream in outcome.cameras.items():
            (frame,) = stream.read([3], ResizeMode.PLAIN)
            names[role] = frame.data.removeprefix(JPEG).decode()
        assert {names[CameraRole.PRIMARY], names[CameraRole.SECONDARY]} == {
            "exterior_image_1_left 3",
            "exterior_image_2_left 3",
        }
        assert names[CameraRole.WRIST_RIGHT] == "wrist_image_left 3"
        chosen.append(names[CameraRole.PRIMARY])
    assert min(Counter(chosen).values()) > 15
    assert len(set(chosen)) == 2


@pytest.mark.parametrize("entry", [b"", b"no image"])
@pytest.mark.parametrize("missing", ["exterior_image_1_left", "exterior_image_2_left", "wrist_image_left"])
def test_a_view_without_any_image_was_not_recorded(tmp_path: Path, missing: str, entry: bytes):
    tree = write_tiny(tmp_path, *[tiny_record(17, **{f"observation/{missing}": [entry] * 17}) for _ in range(8)])
    for outcome in read(tree):
        shown = {next(iter(stream.read([3], ResizeMode.PLAIN))).data for stream in outcome.cameras.values()}
        assert len(shown) == 2
        assert JPEG + f"{missing} 3".encode() not in shown
        other = CameraRole.SECONDARY if missing.startswith("wrist") else CameraRole.WRIST_RIGHT
        assert set(outcome.cameras) == {CameraRole.PRIMARY, other}


def test_an_episode_that_does_not_say_whether_it_succeeded_fails_alone(tmp_path: Path):
    odd = tiny_record(17, **{"episode_metadata/file_path": []})
    first, second, third = read(write_tiny(tmp_path, tiny_record(17), odd, tiny_record(17)))
    assert (first.id[-1], third.id[-1]) == ("0", "2")
    assert isinstance(second, Failure)
    assert "expected a text in episode_metadata/file_path" in second.detail


@pytest.mark.parametrize("prefix", [b"gs://bucket/r2d2/full/", b"/nfs/disk/r2d2/", b""])
def test_provenance_begins_at_the_lab(tmp_path: Path, prefix: bytes):
    changes = {"episode_metadata/file_path": [prefix + b"AUTOLab/success/2023-07-07/a/trajectory.h5"]}
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **changes)))
    assert outcome.provenance["file_path"] == "AUTOLab/success/2023-07-07/a/trajectory.h5"
    assert outcome.provenance["file"] == f"{RELEASE}/droid-train.tfrecord-00000-of-00001"


def test_a_drop_does_not_name_the_authors_disk(tmp_path: Path):
    changes = {"episode_metadata/file_path": [b"/nfs/disk/r2d2/AUTOLab/failure/a/trajectory.h5"]}
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **changes)))
    assert outcome.reason is Reason.UNSUCCESSFUL
    assert outcome.detail == "no `success` in AUTOLab/failure/a/trajectory.h5"


@pytest.mark.parametrize(
    ("path", "kept", "reason"),
    [
        ("lab/success/2023/a/trajectory.h5", "success not_failure any", ""),
        ("lab/failure/2023/a/trajectory.h5", "any", Reason.UNSUCCESSFUL),
        ("data/mylab/evaluation/2023/a/trajectory.h5", "not_failure any", Reason.NO_OUTCOME),
    ],
)
def test_which_outcomes_are_kept_is_a_setting(tmp_path: Path, path: str, kept: str, reason: str) -> None:
    """Own recordings, which nobody sorted by outcome, are unknown and not unsuccessful."""
    tree = write_tiny(tmp_path, tiny_record(20, **{"episode_metadata/file_path": [f"/nfs/disk/{path}".encode()]}))
    for outcome in droid.Outcomes:
        (found,) = read(tree, droid.Settings(idle=droid.IdleFilter.NONE, outcome=outcome))
        if outcome in kept.split():
            assert isinstance(found, Episode)
            assert found.provenance["file_path"] == path.removeprefix("data/")
        else:
            assert isinstance(found, Drop)
            assert found.reason == reason
            assert path.removeprefix("data/") in found.detail
            assert ("--set outcome=not_failure keeps it" in found.detail) == (reason == "no_outcome")


# ------------------------------------------------------------------------------------------------ releases, damage


def test_two_releases_need_a_choice(tmp_path: Path):
    tree = write_tiny(tmp_path, tiny_record(20))
    write_tiny(tmp_path, tiny_record(21), release="droid/1.0.0")
    with pytest.raises(RequestError, match=r"choose one with --set release=droid/1.0.0"):
        droid.parts(tree, droid.Settings())
    (outcome,) = read(tree, droid.Settings(release="droid/1.0.0"))
    assert (outcome.release, outcome.hz, outcome.split) == ("droid/1.0.0", 15.0, None)


def test_steps_that_do_not_line_up_fail_the_episode(tmp_path: Path):
    (outcome,) = read(write_tiny(tmp_path, tiny_record(20, **{"observation/joint_position": np.zeros((19, 7))})))
    assert isinstance(outcome, Failure)
    assert "steps/observation/joint_position 19" in outcome.detail


def test_an_episode_without_steps_is_dropped(tmp_path: Path):
    for settings in (droid.Settings(), EVERY_STEP):
        (outcome,) = read(write_tiny(tmp_path, tiny_record(0)), settings)
        assert isinstance(outcome, Drop)
        assert outcome.reason is Reason.SHORT


@pytest.mark.parametrize("key", ["action_dict/cartesian_position", "observation/cartesian_position"])
def test_a_number_that_is_none_drops_the_episode(tmp_path: Path, key: str):
    pose = np.zeros((30, 6))
    pose[3, 4] = np.nan
    (outcome,) = read(write_tiny(tmp_path, tiny_record(30, **{key: pose})))
    assert isinstance(outcome, Drop)
    assert outcome.reason is Reason.NONFINITE
    assert outcome.detail == f"NaN or infinity in steps/{key}"
