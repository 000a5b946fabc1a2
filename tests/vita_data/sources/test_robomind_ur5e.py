"""RoboMIND UR-5e: six joints, one camera, stuck poses, colours and polarity."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.images import rgb_pixels
from vita_data.resize import to_square
from vita_data.slots import RIGHT_ACTION, RIGHT_STATE
from vita_data.sources import robomind_ur5e
from vita_data.types import CameraRole, Drop, Episode, Float64, Outcome, PoseTarget, Reason, ResizeMode, RgbFrame, Split

NEW = "benchmark1_1_release/h5_ur_1rgb/put_the_garbage_in_the_trash_can_1112/success_episodes"
GOOD, STUCK, VAL = f"{NEW}/train/1112_171103", f"{NEW}/train/1112_181818", f"{NEW}/val/1112_191919"
NO_LEVEL = "benchmark1_1_release/h5_ur_1rgb/side_opening_drawer/success_episodes/1008_090909"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robomind_ur5e")
    robomind_ur5e.write_toy(str(root))
    return root


def outcomes(root: Path, settings: robomind_ur5e.Settings | None = None) -> Iterator[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or robomind_ur5e.Settings()
    for part in robomind_ur5e.parts(raw, settings):
        yield from robomind_ur5e.episodes(raw, part, settings)


def outcome(root: Path, id_: str, settings: robomind_ur5e.Settings | None = None) -> Outcome:
    found = {one.id if isinstance(one, Episode) else one.episode: one for one in outcomes(root, settings)}
    return found[id_]


def episode(root: Path, id_: str) -> Episode:
    found = outcome(root, id_)
    assert isinstance(found, Episode), found
    return found


def raw_values(root: Path, key: str) -> Float64:
    with h5py.File(root / GOOD / "data" / "trajectory.hdf5") as file:
        return np.asarray(file[key][()])


def test_pose_gripper_and_joints_are_the_puppet_s_of_the_next_step(toy: Path) -> None:
    arm = episode(toy, GOOD).right
    pose, joints = raw_values(toy, "puppet/end_effector"), raw_values(toy, "puppet/joint_position")

    assert arm is not None
    assert arm.action is not None
    assert isinstance(arm.action.motion, PoseTarget)
    np.testing.assert_array_equal(arm.action.motion.xyz_m, pose[1:, :3])
    np.testing.assert_array_equal(arm.action.joint_target_rad, joints[1:, :6])
    np.testing.assert_array_equal(arm.action.gripper_open, 1 - joints[1:, 6])
    assert arm.gripper_open is not None
    assert (arm.gripper_open[0], arm.gripper_open[-1]) == (1, 0)


def test_the_seventh_joint_slot_is_masked_and_holds_no_gripper(toy: Path) -> None:
    clips = normalize(episode(toy, GOOD), robomind_ur5e.INFO, robomind_ur5e.Settings(), FrameSelection.KEYFRAMES)

    assert isinstance(clips, tuple)
    action, state = clips[0].action, clips[0].state
    assert action is not None
    assert state is not None
    assert action.track.mask[RIGHT_ACTION + 7 : RIGHT_ACTION + 14].tolist() == [True] * 6 + [False]
    assert state.mask[RIGHT_STATE + 10 : RIGHT_STATE + 17].tolist() == [True] * 6 + [False]


def test_frames_are_rgb_and_step_30_is_a_bare_bgr_buffer_of_640_by_480(toy: Path) -> None:
    found = episode(toy, GOOD)
    frames = list(found.cameras[CameraRole.PRIMARY].read(range(69), ResizeMode.PLAIN))
    seen = [read_toy_frame(to_square(rgb_pixels(frame), ResizeMode.PLAIN)) for frame in frames]

    assert set(found.cameras) == {CameraRole.PRIMARY}
    assert [mark.step for mark in seen] == list(range(69))
    assert all(mark.rgb and mark.upright for mark in seen)
    bare = frames[30]
    assert isinstance(bare, RgbFrame)
    assert bare.pixels.shape == (480, 640, 3)


def test_a_stuck_pose_is_dropped_and_nothing_else_is_lost(toy: Path) -> None:
    found = list(outcomes(toy))
    dropped = [one for one in found if isinstance(one, Drop)]

    assert [(one.episode, one.reason) for one in dropped] == [(STUCK, Reason.STUCK_EEF)]
    assert len(found) == 5


def test_a_trajectory_of_one_step_has_no_row(toy: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(toy, tmp_path / "raw"))
    with h5py.File(root / VAL / "data" / "trajectory.hdf5", "r+") as file:
        for key in ("puppet/end_effector", "puppet/joint_position"):
            values = file[key][:1]
            del file[key]
            file[key] = values
    found = outcome(root, VAL)

    assert isinstance(found, Drop)
    assert found.reason is Reason.SHORT


def test_split_texts_and_rate(toy: Path) -> None:
    assert [episode(toy, id_).split for id_ in (GOOD, VAL, NO_LEVEL)] == [Split.TRAIN, Split.VAL, None]
    assert episode(toy, GOOD).instructions[0].text == "throwing the garbage into the trash can"
    assert episode(toy, VAL).instructions[0].text == "put the garbage in the trash can"
    assert episode(toy, NO_LEVEL).instructions[0].text == "side opening drawer"
    assert episode(toy, GOOD).hz == 30
    faster = outcome(toy, GOOD, robomind_ur5e.Settings(hz=25))
    assert isinstance(faster, Episode)
    assert faster.hz == 25
