"""An arm of which only joints are recorded gets poses and a canonical motion by its URDF."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vita_data
from tests.vita_data.declared.test_joints import SO101
from tests.vita_data.declared.test_other_formats import COMMON
from tests.vita_data.formats.test_urdf import dh_pose, dh_robot
from vita_data.cli.main import main
from vita_data.declared import (
    ArmColumns,
    Declaration,
    Gripper,
    Hdf5Declaration,
    Hdf5Source,
    JointAction,
    Joints,
    Kinematics,
    LeRobotSource,
    Motion,
    Position,
    RldsDeclaration,
    RldsSource,
    Rotation,
    RotationForm,
)
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.lerobot.write_v3 import write_lerobot_v3
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import toy_arm
from vita_data.geometry import integrate_deltas, matrix_from_rot6d, quat_xyzw_from_matrix
from vita_data.probe.result import Probe, ProbeResult, Verdict
from vita_data.probe.run import probe_tree
from vita_data.replay import compare_commands, find_built
from vita_data.shards.verify import verify
from vita_data.testing import check_source
from vita_data.types import Float64, Source, SourceSettings

STATE, ACTION = "observation.state", "action"
NAMES = ("j2", "j0", "j1", "j3", "j4", "j5")
"""The order in which the toy datasets store the joints."""
ORDER = [NAMES.index(f"j{number}") for number in range(6)]
SIGNS, OFFSETS = (1, -1, 1, 1, 1, -1), (0.1, 0.0, -0.2, 0.0, 0.3, 0.0)
DEGREE = np.pi / 180


def kinematics(folder: Path, **changes: object) -> Kinematics:
    file = folder / "ur5e.urdf"
    if not file.exists():
        file.write_text(dh_robot())
    values: Mapping[str, object] = {
        "urdf": file, "base": "l0", "tip": "tool", "joints": NAMES, "signs": SIGNS, "offsets_rad": OFFSETS, **changes
    }  # fmt: skip
    return Kinematics(**values)  # type: ignore[arg-type]


def arm(
    by: Kinematics | None, *, motion: Motion = Motion.ABSOLUTE, state: str = STATE, action: str = ACTION
) -> ArmColumns:
    return ArmColumns(
        position=None,
        rotation=None,
        joints=Joints(state, 0, count=6, unit_rad=DEGREE),
        gripper=None,
        kinematics=by,
        action=JointAction(
            motion=motion, joints=Joints(action, 0, count=6, unit_rad=DEGREE), gripper=Gripper(action, 6, 1.0, 0.0)
        ),
    )


def dh_of(declared_rad: Float64) -> Float64:
    """Compute poses [T, 4, 4] of declared joints without the product's code."""
    angles = np.asarray(declared_rad, np.float64)
    return np.array([dh_pose((row * SIGNS + OFFSETS)[ORDER]) for row in angles])


LEROBOT = replace(SO101, name="my_ur", embodiment="ur5e", hz=20.0, labelled_fps=20.0, columns={STATE: 13, ACTION: 7})
HDF5 = {"name": "my_ur", "files": "*.hdf5", "text_attribute": None, "cameras": (), **COMMON}
RLDS = {"name": "my_ur", "datasets": ("my_ur",), "text_column": "steps/text", "cameras": (), **COMMON}


def sources(folder: Path, motion: Motion) -> dict[str, Source]:
    by = kinematics(folder)
    keys = {"state": "steps/state", "action": "steps/action"}
    declared: dict[str, Declaration] = {
        "hdf5": Hdf5Declaration(**HDF5, columns={STATE: 6, ACTION: 7}, right=arm(by, motion=motion)),
        "rlds": RldsDeclaration(
            **RLDS, columns={"steps/state": 6, "steps/action": 7}, right=arm(by, motion=motion, **keys)
        ),
    }  # type: ignore[arg-type]
    return {
        "lerobot": LeRobotSource(replace(LEROBOT, right=arm(by, motion=motion))),
        "hdf5": Hdf5Source(declared["hdf5"]),  # type: ignore[arg-type]
        "rlds": RldsSource(declared["rlds"]),  # type: ignore[arg-type]
    }


SOURCE_FILE = """
from pathlib import Path
from tests.vita_data.declared.test_kinematics import sources, Motion
SOURCE = sources(Path(__file__).parent, Motion.{motion})["{kind}"]
"""


def write_source(folder: Path, kind: str, motion: str) -> Path:
    path = folder / "my_ur.py"
    path.write_text(SOURCE_FILE.format(kind=kind, motion=motion))
    return path


def build(path: Path, folder: Path) -> int:
    toy = ["toy", "--source-file", str(path), "--raw", str(folder / "raw")]
    assert (folder / "raw").exists() or main(toy) == 0
    raw = folder / "raw" / "my_ur"
    return main(
        ["build", "--source-file", str(path), "--raw", str(raw), "--out", str(folder / "out"), "--workers", "1"]
    )


@pytest.mark.parametrize("motion", ["ABSOLUTE", "DELTA"])
@pytest.mark.parametrize("kind", ["lerobot", "hdf5", "rlds"])
def test_stored_poses_and_deltas_are_those_of_the_joints(tmp_path: Path, kind: str, motion: str) -> None:
    path = write_source(tmp_path, kind, motion)
    assert build(path, tmp_path) == 0
    folder = tmp_path / "out" / "my_ur"
    assert verify(folder).problems == ()
    clip = vita_data.open_source(folder)[0].clip
    assert clip.action is not None
    assert clip.state is not None
    measured, target = dh_of(clip.state.values[:, 34:40]), dh_of(clip.action.track.values[:, 23:29])
    assert clip.state.values[:, 24:27] == pytest.approx(measured[:, :3, 3], abs=1e-5)
    assert matrix_from_rot6d(clip.state.values[:, 27:33]) == pytest.approx(measured[:, :3, :3], abs=1e-5)
    for row in range(len(measured)):
        delta = clip.action.track.values[row : row + 1, 16:22]
        xyz, turn = integrate_deltas(measured[row, :3, 3], measured[row, :3, :3], delta)
        assert xyz[1] == pytest.approx(target[row, :3, 3], abs=1e-5)
        assert turn[1] == pytest.approx(target[row, :3, :3], abs=1e-5)
    assert np.flatnonzero(clip.action.track.mask).tolist() == [*range(16, 29)]


def test_the_card_names_the_file_and_its_sum(tmp_path: Path) -> None:
    assert build(write_source(tmp_path, "hdf5", "ABSOLUTE"), tmp_path) == 0
    digest = hashlib.sha256((tmp_path / "ur5e.urdf").read_bytes()).hexdigest()
    card = (tmp_path / "out/my_ur/dataset.json").read_text()
    assert f"the pose of tool in l0 is computed from the joints by ur5e.urdf (sha256 {digest})" in card
    assert '"absolute joint positions, and the hand\'s motion by a URDF"' in card
    assert str(tmp_path) not in card


def test_a_build_notices_another_urdf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_source(tmp_path, "hdf5", "ABSOLUTE")
    assert build(path, tmp_path) == 0
    before = (tmp_path / "out/my_ur/dataset.json").read_bytes()
    (tmp_path / "ur5e.urdf").write_text(dh_robot().replace('"-3.2"', '"-3.1"'))
    forget_source_files()
    capsys.readouterr()
    assert build(path, tmp_path) == 2
    assert "or of a file that it names" in capsys.readouterr().err
    assert (tmp_path / "out/my_ur/dataset.json").read_bytes() == before


def forget_source_files() -> None:
    """Make the next command import source files again, as a new process does."""
    for name in [name for name in sys.modules if name.startswith("vita_source_file_")]:
        del sys.modules[name]


@pytest.mark.parametrize("motion", ["ABSOLUTE", "DELTA"])
def test_replay_compares_targets_and_poses(tmp_path: Path, motion: str) -> None:
    path = write_source(tmp_path, "lerobot", motion)
    assert build(path, tmp_path) == 0
    (found,) = find_built(tmp_path / "out" / "my_ur", str(tmp_path / "raw" / "my_ur"))
    report = compare_commands(found, source_file=str(path))
    assert report.passes
    assert {"right joints (rad)", "right position (m)", "right rotation (matrix)"} <= report.worst.keys()


def test_an_own_source_with_a_urdf_passes_the_contract(tmp_path: Path) -> None:
    check_source(write_source(tmp_path, "lerobot", "ABSOLUTE"))


SMALL_ARM = Path(__file__).with_name("urdf_arm.py")


def test_the_small_arm_is_where_the_closed_form_says(tmp_path: Path) -> None:
    """One that pans, and whose two links turn in a plane."""
    words = ["--source-file", str(SMALL_ARM), "--raw"]
    assert main(["toy", *words, str(tmp_path)]) == 0
    assert main(["build", *words, str(tmp_path / "small_arm"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    for one in vita_data.open_source(tmp_path / "out" / "small_arm"):
        assert one.clip.state is not None
        values = one.clip.state.values.astype(np.float64)
        pan, lift, elbow = values[:, 34], values[:, 35], values[:, 35:37].sum(axis=1)
        far = 0.2 * np.sin(lift) + 0.18 * np.sin(elbow)
        height = 0.12 + 0.2 * np.cos(lift) + 0.18 * np.cos(elbow)
        expected = np.column_stack([far * np.cos(pan), far * np.sin(pan), height])
        assert values[:, 24:27] == pytest.approx(expected, abs=1e-5)


def test_without_the_package_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_source_files()
    monkeypatch.setitem(sys.modules, "ikpy.chain", None)
    assert main(["toy", "--source-file", str(SMALL_ARM), "--raw", str(tmp_path)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "urdf urdf_arm.urdf: poses from joints need ikpy" in told
    assert told.endswith("pip install -e '.[urdf]'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"joints": NAMES[:5]},
            "the joints that turn between 'l0' and 'tool' are j0, j1, j2, j3, j4, j5; declared are",
        ),
        ({"joints": (*NAMES[:5], "j9")}, "declared are j2, j0, j1, j3, j4, j9"),
        ({"joints": (*NAMES[:5], "j2")}, "declared are j2, j0, j1, j3, j4, j2"),
        ({"tip": "l3"}, "the joints that turn between 'l0' and 'l3' are j0, j1, j2; declared are"),
        ({"signs": (1, -1)}, "signs: expected 6 values, one for each joint, got 2"),
        ({"signs": (2,) * 6}, "expected signs of 1 or -1"),
        ({"offsets_rad": (0.0, np.nan, 0.0, 0.0, 0.0, 0.0)}, "finite offsets_rad"),
    ],
)
def test_kinematics_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kinematics(tmp_path, **changes)


def test_an_arm_that_kinematics_does_not_fit_is_refused(tmp_path: Path) -> None:
    by, right = kinematics(tmp_path), arm(None)
    with pytest.raises(ValueError, match="kinematics names 6 joints"):
        replace(right, joints=None, kinematics=by)
    with pytest.raises(ValueError, match="kinematics names 6 joints"):
        replace(right, joints=Joints(STATE, 0, count=5, unit_rad=1.0), kinematics=by)
    with pytest.raises(ValueError, match="need both position and rotation"):
        replace(right, position=Position(STATE, 6, 1.0), kinematics=by)


# Data with joints and recorded poses: planted errors


def write_recorded(root: Path) -> None:
    """Write four episodes with joints in degrees and, from column 6, the pose as position and quaternion."""
    episodes = []
    for number in range(4):
        joints = toy_arm(41, hz=20.0, seed=number, num_joints=6).joint_position_rad
        poses = dh_of(joints)
        state = np.column_stack([joints / DEGREE, poses[:, :3, 3], quat_xyzw_from_matrix(poses[:, :3, :3])])
        action = np.column_stack([joints / DEGREE, np.linspace(1, 0, 41).round()])
        columns = {STATE: state[:-1], ACTION: action[1:]}
        episodes.append(ToyLeRobotEpisode(text=f"put cup {number} on the shelf", meta={}, columns=columns, videos={}))
    write_lerobot_v3(str(root), fps=20, info={}, episodes=episodes)


def probed(folder: Path, **changes: object) -> dict[Probe, ProbeResult]:
    if not (folder / "raw").exists():
        write_recorded(folder / "raw")
    right = replace(
        arm(kinematics(folder, **changes)),
        position=Position(STATE, 6, 1.0),
        rotation=Rotation(STATE, 9, RotationForm.QUAT_XYZW, 1.0),
    )
    source = LeRobotSource(replace(LEROBOT, cameras=(), right=right))
    report = probe_tree(source, FsspecTree(str(folder / "raw")), SourceSettings()).report
    return {result.probe: result for result in report.results}


def test_poses_that_agree_hold(tmp_path: Path) -> None:
    found = probed(tmp_path)
    assert found[Probe.KINEMATICS].verdict is Verdict.HELD
    assert found[Probe.INTEGRATION].verdict is Verdict.HELD
    assert found[Probe.LAG].verdict is Verdict.HELD


@pytest.mark.parametrize(
    "changes",
    [
        {"joints": ("j2", "j1", "j0", "j3", "j4", "j5")},
        {"signs": (1, 1, 1, 1, 1, -1)},
        {"offsets_rad": (0.0,) * 6},
    ],
    ids=["order", "sign", "offset"],
)
def test_a_planted_error_of_the_joints_fails_the_probe(tmp_path: Path, changes: dict[str, object]) -> None:
    found = probed(tmp_path, **changes)[Probe.KINEMATICS]
    assert found.verdict is Verdict.FAILED
    assert "the order, unit, signs or offsets of the joints are wrong" in found.meaning


def test_another_tip_or_base_is_a_warning(tmp_path: Path) -> None:
    text = dh_robot().replace("</robot>", "")
    camera = '<joint name="c" type="fixed"><parent link="tool"/><child link="c"/><origin xyz="0 0 0.2"/></joint>'
    table = '<joint name="t" type="fixed"><parent link="t"/><child link="l0"/><origin xyz="1 0 0" rpy="0 0 1"/></joint>'
    file = tmp_path / "more.urdf"
    file.write_text(f'{text}<link name="c"/><link name="t"/>{camera}{table}</robot>')
    tip = probed(tmp_path, urdf=file, tip="c")[Probe.KINEMATICS]
    assert (tip.verdict, "another tip link" in tip.meaning) == (Verdict.WARNING, True)
    base = probed(tmp_path, urdf=file, base="t")[Probe.KINEMATICS]
    assert (base.verdict, "another base link" in base.meaning) == (Verdict.WARNING, True)


def test_degrees_taken_for_radians_exceed_the_limits_and_fail(tmp_path: Path) -> None:
    write_recorded(tmp_path / "raw")
    right = arm(kinematics(tmp_path))
    wrong = replace(right, joints=Joints(STATE, 0, count=6, unit_rad=1.0))
    source = LeRobotSource(replace(LEROBOT, cameras=(), right=wrong))
    report = probe_tree(source, FsspecTree(str(tmp_path / "raw")), SourceSettings()).report
    schema = report.results[0]
    assert schema.verdict is Verdict.FAILED
    assert "the measured joint 'j" in schema.meaning
    assert "ur5e.urdf allows -3.2 to 3.2; check unit_rad" in schema.meaning


def test_without_recorded_poses_there_is_nothing_to_compare(tmp_path: Path) -> None:
    source = LeRobotSource(replace(LEROBOT, right=arm(kinematics(tmp_path))))
    source.write_toy(str(tmp_path / "raw"))
    report = probe_tree(source, FsspecTree(str(tmp_path / "raw")), SourceSettings()).report
    assert report.results[-1].verdict is Verdict.NOT_APPLICABLE
