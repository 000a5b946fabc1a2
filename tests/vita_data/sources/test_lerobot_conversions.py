"""Public LeRobot conversions are recognized by their content; their known errors are corrected or refused by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.lerobot.write_v3 import write_lerobot_v3
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import ToyArm, read_toy_frame, toy_arm, toy_frame
from vita_data.geometry import (
    axis_angle_from_matrix,
    euler_xyz_from_matrix,
    quat_xyzw_from_matrix,
    rotation_delta,
)
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.vectors import arm_delta
from vita_data.sources import droid, load
from vita_data.types import (
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Gaps,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
)

ROWS = 24
STATE, ACTION, IMAGE = "observation.state", "action", "observation.images"


def write(
    root: Path,
    fps: int,
    columns: Mapping[str, Float64],
    cameras: Sequence[str],
    strings: Mapping[str, str] | None = None,
) -> FsspecTree:
    """Write a dataset of one episode."""
    num_rows = len(next(iter(columns.values())))
    episode = ToyLeRobotEpisode(
        text="put the cup on the shelf",
        meta={},
        columns=columns,
        videos={
            key: [toy_frame(64, 64, step=step, camera=number) for step in range(num_rows)]
            for number, key in enumerate(cameras)
        },
        strings={key: [text] * num_rows for key, text in (strings or {}).items()},
    )
    root.mkdir(exist_ok=True)
    write_lerobot_v3(str(root), fps=fps, info={}, episodes=[episode])
    return FsspecTree(str(root))


def read(name: str, raw: FsspecTree, settings: SourceSettings | None = None) -> Episode | Drop | Failure:
    source = load(name)
    settings = settings or source.Settings()
    (part,) = source.parts(raw, settings)
    (found,) = source.episodes(raw, part, settings)
    if isinstance(found, Episode):
        # clips are made, and the states lead on
        clips = normalize(found, source.INFO, settings, FrameSelection.KEYFRAMES)
        assert not isinstance(clips, Drop), clips
    return found


def episode(name: str, raw: FsspecTree) -> Episode:
    found = read(name, raw)
    assert isinstance(found, Episode), found
    return found


def made() -> ToyArm:
    return toy_arm(ROWS + 1, hz=5.0, seed=3)


def motion(found: Episode) -> Float64:
    assert found.right is not None
    assert found.right.action is not None
    return arm_delta(found.right, found.right.action)


def steps(arm: ToyArm) -> Float64:
    turn = euler_xyz_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    return np.column_stack([np.diff(arm.xyz_m, axis=0), turn])


def shown(found: Episode, role: CameraRole) -> list[tuple[int, int]]:
    frames = found.cameras[role].read([0, 5], ResizeMode.PLAIN)
    marks = [read_toy_frame(frame.pixels) for frame in frames if isinstance(frame, RgbFrame)]
    assert all(mark.upright and mark.rgb for mark in marks)
    return [(mark.step, mark.camera) for mark in marks]


# ------------------------------------------------------------------------------------------------------------- bridge


def bridge_columns(width: int) -> dict[str, Float64]:
    """As any4lerobot writes them: actions are differences of Euler angles, of which some jump by a turn."""
    arm = made()
    angles = euler_xyz_from_matrix(arm.rotation)
    state = np.zeros((ROWS, width))
    state[:, :6], state[:, -1] = np.column_stack([arm.xyz_m, angles])[:ROWS], arm.gripper_open[:ROWS]
    action = np.column_stack([np.diff(arm.xyz_m, axis=0), np.diff(angles, axis=0), arm.gripper_open[1:] > 0.5])
    return {STATE: state, ACTION: action}


@pytest.mark.parametrize("width", [8, 7])
def test_bridge_moves_to_the_next_pose_whatever_its_actions_say(tmp_path: Path, width: int) -> None:
    columns = bridge_columns(width)
    assert np.abs(columns[ACTION][:, 3:6]).max() > 3  # roll near pi: subtracting angles jumps
    found = episode("bridge", write(tmp_path / "raw", 5, columns, [f"{IMAGE}.image_0", f"{IMAGE}.image_1"]))

    assert found.release == ("lerobot/any4lerobot" if width == 8 else "lerobot/state_7")
    assert found.step_index.tolist() == list(range(ROWS - 1))
    assert motion(found) == pytest.approx(steps(made())[: ROWS - 1], abs=1e-5)
    assert found.right is not None
    assert found.right.action is not None
    assert set(found.right.action.gripper_open) <= {0.0, 1.0}
    assert shown(found, CameraRole.PRIMARY) == [(0, 0), (5, 0)]


def test_bridge_leaves_a_placeholder_out(tmp_path: Path) -> None:
    columns = bridge_columns(8)
    columns[ACTION][0, :6] = 0
    found = episode("bridge", write(tmp_path / "raw", 5, columns, [f"{IMAGE}.image_0"]))

    assert found.step_index.tolist() == list(range(1, ROWS - 1))
    assert motion(found) == pytest.approx(steps(made())[1 : ROWS - 1], abs=1e-5)
    assert shown(found, CameraRole.PRIMARY) == [(1, 0), (6, 0)]


# ---------------------------------------------------------------------------------------------------- fractal and fmb


def oxe_columns(*, one_is_open: bool) -> dict[str, Float64]:
    arm = made()
    state = np.column_stack([arm.xyz_m, quat_xyzw_from_matrix(arm.rotation), 1 - arm.gripper_open])[:ROWS]
    opening = arm.gripper_open[1:]
    return {STATE: state, ACTION: np.column_stack([steps(arm), opening if one_is_open else 1 - opening])}


def test_fractal_reads_quaternions_and_an_absolute_gripper(tmp_path: Path) -> None:
    found = episode("fractal", write(tmp_path / "raw", 3, oxe_columns(one_is_open=True), [f"{IMAGE}.image"]))
    arm = made()
    assert found.right is not None
    assert found.right.action is not None
    assert found.right.xyz_m == pytest.approx(arm.xyz_m[:ROWS], abs=1e-6)
    assert found.right.rotation == pytest.approx(arm.rotation[:ROWS], abs=1e-5)
    assert found.right.gripper_open == pytest.approx(arm.gripper_open[:ROWS], abs=1e-6)
    assert found.right.action.gripper_open == pytest.approx(arm.gripper_open[1:], abs=1e-6)
    assert motion(found) == pytest.approx(steps(arm), abs=1e-5)


def test_fmb_reads_a_quaternion_that_is_named_roll_pitch_yaw_and_clips_as_its_controller(tmp_path: Path) -> None:
    columns = oxe_columns(one_is_open=False)
    columns[ACTION][4, 0], columns[ACTION][5, 3] = 0.2, -0.9
    cameras = [f"{IMAGE}.image_{name}" for name in ("side_1", "side_2", "wrist_1", "wrist_2")]
    found = episode("fmb", write(tmp_path / "raw", 10, columns, cameras))
    arm, moved = made(), motion(found)

    assert found.right is not None
    assert found.right.rotation == pytest.approx(arm.rotation[:ROWS], abs=1e-5)
    assert found.right.gripper_open == pytest.approx(arm.gripper_open[:ROWS], abs=1e-6)
    assert found.right.action is not None
    assert found.right.action.gripper_open == pytest.approx(arm.gripper_open[1:], abs=1e-6)
    assert (moved[4, 0], moved[5, 3]) == (pytest.approx(0.06), pytest.approx(-0.25, abs=1e-3))
    assert moved[6:] == pytest.approx(steps(arm)[6:], abs=1e-5)
    assert shown(found, CameraRole.WRIST_RIGHT) == [(0, 2), (5, 2)]


# -------------------------------------------------------------------------------------------------------------- droid

DROID_CAMERAS = [f"{IMAGE}.{name}" for name in ("exterior_1_left", "exterior_2_left", "wrist_left")]
DROID_TEXTS = {"language_instruction": "", "language_instruction_2": "open it", "language_instruction_3": "open it"}


def droid_columns(*, success: float = 1.0, idle: slice = slice(0, 0)) -> dict[str, Float64]:
    arm = toy_arm(41, hz=15.0, seed=3)
    pose = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])
    speed = np.random.default_rng(0).normal(size=(40, 7))
    speed[idle] = 0.0
    return {
        "observation.state.cartesian_position": pose[:40],
        "action.cartesian_position": pose[1:],
        "observation.state.gripper_position": 1 - arm.gripper_open[:40],
        "action.gripper_position": 1 - arm.gripper_open[1:],
        "observation.state.joint_position": arm.joint_position_rad[:40],
        "action.joint_position": arm.joint_position_rad[1:],
        "action.joint_velocity": speed,
        "is_episode_successful": np.full(40, success),
    }


def test_droid_reads_positions_and_all_its_texts(tmp_path: Path) -> None:
    found = episode("droid", write(tmp_path / "raw", 15, droid_columns(), DROID_CAMERAS, DROID_TEXTS))
    arm = toy_arm(41, hz=15.0, seed=3)
    assert found.step_index.tolist() == list(range(30))  # the last ten teach a policy to stop
    assert motion(found) == pytest.approx(steps(arm)[:30], abs=1e-5)
    assert found.right is not None
    assert found.right.gripper_open == pytest.approx(arm.gripper_open[:30], abs=1e-6)
    assert [one.text for one in found.instructions] == ["open it"]
    exterior = {shown(found, role)[1][1] for role in (CameraRole.PRIMARY, CameraRole.SECONDARY)}
    assert exterior == {0, 1}
    assert shown(found, CameraRole.WRIST_RIGHT) == [(0, 2), (5, 2)]


def test_droid_leaves_idle_steps_and_failures_out(tmp_path: Path) -> None:
    raw = write(tmp_path / "idle", 15, droid_columns(idle=slice(1, 10)), DROID_CAMERAS, DROID_TEXTS)
    assert episode("droid", raw).step_index.tolist() == list(range(10, 30))
    failed = write(tmp_path / "failed", 15, droid_columns(success=0.0), DROID_CAMERAS, DROID_TEXTS)
    dropped = read("droid", failed)
    assert isinstance(dropped, Drop)
    assert dropped.reason is Reason.UNSUCCESSFUL
    assert isinstance(read("droid", failed, droid.Settings(outcome=droid.Outcomes.ANY)), Episode)
    with pytest.raises(RequestError, match="says only whether an episode succeeded"):
        load("droid").parts(failed, droid.Settings(outcome=droid.Outcomes.NOT_FAILURE))


def test_droid_with_swapped_cameras_is_refused_by_name(tmp_path: Path) -> None:
    cameras = [f"{IMAGE}.{name}" for name in ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left")]
    raw = write(tmp_path / "raw", 15, {STATE: np.zeros((20, 8)), ACTION: np.zeros((20, 7))}, cameras)
    with pytest.raises(RequestError, match="unitless velocity as action, and its two exterior cameras were swapped"):
        load("droid").parts(raw, load("droid").Settings())


# ------------------------------------------------------------------------------------------------------------- libero

LIBERO = [
    (STATE, ACTION, f"{IMAGE}.image", f"{IMAGE}.wrist_image", "lerobot/any4lerobot"),
    (STATE, ACTION, f"{IMAGE}.image", f"{IMAGE}.image2", "lerobot/image2"),
    ("state", "actions", "image", "wrist_image", "lerobot/openpi"),
]


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("fps", [10, 20, 30])
@pytest.mark.parametrize(("state", "action", "image", "wrist", "release"), LIBERO)
def test_libero_has_20_hz_and_one_gripper_sign_whatever_is_written(
    tmp_path: Path, state: str, action: str, image: str, wrist: str, release: str, fps: int, is_flipped: bool
) -> None:
    arm = made()
    fingers = 0.04 * arm.gripper_open[:, None] * np.array([[1.0, -1.0]])
    turn = axis_angle_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    raw_gripper = np.where(arm.gripper_open[1:] > 0.5, -1.0, 1.0)
    command = np.column_stack(
        [np.diff(arm.xyz_m, axis=0) / 0.05, turn / 0.5, (1 - raw_gripper) / 2 if is_flipped else raw_gripper]
    )
    command[3, 0] = 1.7
    columns = {
        state: np.column_stack([arm.xyz_m, axis_angle_from_matrix(arm.rotation), fingers])[:ROWS],
        action: command,
    }
    found = episode("libero", write(tmp_path / "libero_goal_no_noops", fps, columns, [image, wrist]))

    assert (found.hz, found.release, found.gaps) == (20.0, release, Gaps.BRIDGE)
    assert found.right is not None
    assert found.right.action is not None
    assert found.right.action.gripper_open.tolist() == (arm.gripper_open[1:] > 0.5).tolist()
    assert found.right.gripper_open == pytest.approx(arm.gripper_open[:ROWS], abs=1e-6)
    moved, expected = motion(found), np.clip(command[:, :3], -1, 1) * 0.05
    assert moved[:, :3] == pytest.approx(expected, abs=1e-6)
    assert moved[:, 3:] == pytest.approx(steps(arm)[:, 3:], abs=1e-5)
    assert found.extras["orientation"] == "rot180"
    assert shown(found, CameraRole.WRIST_RIGHT) == [(0, 1), (5, 1)]


def test_libero_takes_the_suite_of_its_folder_and_refuses_settings_of_other_forms(tmp_path: Path) -> None:
    columns = {STATE: np.zeros((ROWS, 8)), ACTION: -np.ones((ROWS, 7))}
    columns[STATE][:, 2] = np.arange(ROWS) / 100
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "libero_goal_no_noops_1.0.0_lerobot", 10, columns, [f"{IMAGE}.image", f"{IMAGE}.image2"])
    raw, source = FsspecTree(str(tmp_path / "raw")), load("libero")
    (part,) = source.parts(raw, source.Settings())
    (found,) = source.episodes(raw, part, source.Settings())
    assert isinstance(found, Episode)
    assert found.provenance["suite"] == "libero_goal"
    assert found.provenance["task"] == "put_the_cup_on_the_shelf"
    with pytest.raises(RequestError, match="do not apply to LeRobot datasets"):
        source.parts(raw, replace(source.Settings(), suites=("libero_goal",)))  # type: ignore[call-arg]


# ------------------------------------------------------------------------------------------------------------- calvin


def calvin_columns() -> dict[str, Float64]:
    arm = made()
    pose = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])
    state = np.column_stack([pose, 0.08 * arm.gripper_open, arm.joint_position_rad, np.ones(ROWS + 1)])[:ROWS]
    action = np.column_stack([pose[1:], np.where(arm.gripper_open[1:] > 0.5, 1.0, -1.0)])
    return {STATE: state, ACTION: action, "action.absolute": action}


def test_calvin_reads_absolute_actions_at_30_hz(tmp_path: Path) -> None:
    found = episode("calvin", write(tmp_path / "raw", 30, calvin_columns(), [f"{IMAGE}.top", f"{IMAGE}.wrist"]))
    arm = made()
    assert (found.hz, found.split) == (30.0, Split.TRAIN)
    assert found.right is not None
    assert found.right.action is not None
    assert motion(found) == pytest.approx(steps(arm), abs=1e-5)
    assert found.right.action.gripper_open.tolist() == (arm.gripper_open[1:] > 0.5).tolist()
    targets = arm.joint_position_rad[[*range(1, ROWS), ROWS - 1]]
    assert found.right.action.joint_target_rad == pytest.approx(targets, abs=1e-6)
    assert found.extras["rel_actions_position_scale_m"] == 0.02


def test_calvin_at_10_fps_is_refused_by_name(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 10, {"state": np.zeros((ROWS, 15)), "actions": np.zeros((ROWS, 7))}, ["image"])
    with pytest.raises(RequestError, match="labelled 10 fps, but the recordings have 30 Hz"):
        load("calvin").parts(raw, load("calvin").Settings())


# -------------------------------------------------------------------------------------------------------------- recon


def test_recon_is_video_with_the_pose_of_its_base(tmp_path: Path) -> None:
    rows = np.arange(ROWS)
    state = np.zeros((ROWS, 8))
    state[:, 0], state[:, 1], state[:, 5] = 5 + 0.1 * rows, 2.0, np.pi / 2
    columns = {STATE: state, ACTION: np.zeros((ROWS, 7))}
    found = episode("recon", write(tmp_path / "raw", 3, columns, [f"{IMAGE}.image"]))
    assert (found.right, found.action_origin, found.arms) == (None, None, "base")
    assert found.base is not None
    assert found.base.pose == pytest.approx(np.column_stack([0 * rows, -0.1 * rows, 0 * rows]), abs=1e-5)

    state[:, 3] = 1.0
    other = read("recon", write(tmp_path / "other", 3, columns, [f"{IMAGE}.image"]))
    assert isinstance(other, Failure)
    assert "expected states x, y, 0, 0, 0, yaw" in other.detail


# --------------------------------------------------------------------------------------------------------------- all


@pytest.mark.parametrize("name", ["bridge", "fractal", "fmb", "droid", "libero", "calvin", "recon"])
def test_an_unknown_conversion_and_two_forms_are_refused(tmp_path: Path, name: str, toy_raw: Path) -> None:
    source = load(name)
    raw = write(tmp_path / "raw", 7, {"my.state": np.zeros((5, 3))}, ["my.camera"])
    with pytest.raises(RequestError, match=rf"expected a known LeRobot conversion of {name} .*found my.state"):
        source.parts(raw, source.Settings())
    for path in toy_raw.joinpath(name).iterdir():
        (tmp_path / "raw" / path.name).symlink_to(path)
    with pytest.raises(RequestError, match=r"contains LeRobot .* and another form"):
        source.parts(FsspecTree(str(tmp_path / "raw")), source.Settings())
