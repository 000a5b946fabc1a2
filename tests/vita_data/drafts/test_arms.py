"""Drafts of two arms, and of arms of which only joints are known, build once their marked blanks are filled."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import vita_data
from tests.vita_data.declared.test_joints import ALOHA, NO_GRIPPER, SO101
from tests.vita_data.declared.test_joints import arm as joint_arm
from tests.vita_data.declared.unitree_g1 import SOURCE as G1
from tests.vita_data.drafts.test_new_source import arm as pose_arm
from tests.vita_data.drafts.test_new_source import common, drafted, shared
from tests.vita_data.formats.test_urdf import dh_robot
from vita_data.cli.main import main
from vita_data.declared import (
    ArmColumns,
    Declaration,
    Frame,
    Gripper,
    Hdf5Declaration,
    Hdf5Source,
    JointAction,
    Joints,
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    RotationForm,
)
from vita_data.drafts import Draft, draft_source
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.slots import RIGHT_ACTION
from vita_data.sources import load_own

STATE, ACTION = "observation.state", "action"
SO101_NAMES = [f"{name}.pos" for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")]
SO101_NAMES += ["gripper.pos"]
ALOHA_NAMES = [
    f"{side}_{name}"
    for side in ("left", "right")
    for name in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
]
FACTS = {"hz": "10.0", "redistributable": "False", "open": "100.0", "closed": "0.0"}
GRIPPER = {"open", "closed"}
"""What a sample of joints does not tell: arms that are led by hand often start with a closed gripper."""


def lerobot_draft(declared: LeRobotDeclaration, root: Path, names: list[str] | None) -> Draft:
    """Write the toy of a declaration with names of its values, and draft it."""
    root.mkdir()
    LeRobotSource(declared).write_toy(str(root))
    info = root / "meta" / "info.json"
    found = json.loads(info.read_text())
    for key in (STATE, ACTION):
        found["features"][key]["names"] = names if names is None else {"motors": names}
    info.write_text(json.dumps(found))
    with FsspecTree(str(root)) as raw:
        return draft_source(raw, name="my_draft")


def filled(draft: Draft, folder: Path, **blanks: str) -> tuple[Path, Declaration]:
    """Fill the blanks: the facts, and those given; readings that are not chosen are deleted."""
    facts = FACTS | blanks
    text = draft.text
    for reading in readings(draft):
        if reading not in blanks.values():
            text = re.sub(rf"^{reading} = ArmColumns\(.*?^\)\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"(\w+)=TODO", lambda found: f"{found[1]}={facts.get(found[1], repr('human'))}", text)
    path = folder / "my_draft.py"
    path.write_text(text)
    found = load_own(str(path))
    assert isinstance(found, LeRobotSource | Hdf5Source)
    return path, found.declaration


def require_it_builds(path: Path, raw: Path, out: Path) -> None:
    assert main(["build", "--source-file", str(path), "--raw", str(raw), "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / "my_draft" / "dataset.json").read_text())["outcomes"] == {"ok": 3}


def readings(draft: Draft) -> list[str]:
    return re.findall(r"^(\w+) = ArmColumns", draft.text, re.MULTILINE)


def blanks(draft: Draft) -> set[str]:
    declared = draft.text.partition("\nSOURCE = ")[2]
    return set(re.findall(r"(\w+)=TODO", declared)) - {
        "embodiment", "licence", "url", "access", "redistributable", "text_origin",
    }  # fmt: skip


def same(found: ArmColumns | None, true: ArmColumns | None) -> None:
    """Require the same columns, motion and, to what a sample shows, grippers."""
    assert found is not None
    assert true is not None
    assert isinstance(found.action, JointAction)
    assert isinstance(true.action, JointAction)
    assert found.action.motion is true.action.motion
    for mine, own in ((found.joints, true.joints), (found.action.joints, true.action.joints)):
        assert mine is not None
        assert own is not None
        assert (mine.key, mine.start, mine.count) == (own.key, own.start, own.count)
        assert mine.unit_rad == pytest.approx(own.unit_rad, rel=1e-4)
    for ours, theirs in ((found.gripper, true.gripper), (found.action.gripper, true.action.gripper)):
        assert ours == theirs or (
            isinstance(ours, Gripper)
            and isinstance(theirs, Gripper)
            and (ours.key, ours.start) == (theirs.key, theirs.start)
            and (ours.open, ours.closed) == pytest.approx((theirs.open, theirs.closed), abs=0.05)
        )


def test_aloha_with_names_is_two_arms(tmp_path: Path) -> None:
    for motion in (Motion.ABSOLUTE, Motion.DELTA):
        true = replace(ALOHA, left=joint_arm(0, 6, motion), right=joint_arm(7, 6, motion))
        draft = lerobot_draft(true, tmp_path / f"raw_{motion}", ALOHA_NAMES)
        path, found = filled(draft, tmp_path)

        assert blanks(draft) == GRIPPER
        same(found.left, true.left)
        same(found.right, true.right)
        assert (found.rows_to_action, found.lag) == (0, 0)
        assert any(re.search(r"6 of the 6 moving values of action \(values 7 to 12\)", one) for one in draft.evidence)
        assert any(one.startswith("probe P1 schema: held") for one in draft.evidence)
        require_it_builds(path, tmp_path / f"raw_{motion}", tmp_path / f"built_{motion}")


@pytest.mark.parametrize(("rows_to_action", "names"), [(0, None), (1, [f"motor_{number}" for number in range(14)])])
def test_aloha_without_names_leaves_open_which_arm_is_the_left_one(
    tmp_path: Path, rows_to_action: int, names: list[str] | None
) -> None:
    absolute = {"left": joint_arm(0, 6, Motion.ABSOLUTE), "right": joint_arm(7, 6, Motion.ABSOLUTE)}
    true = replace(ALOHA, rows_to_action=rows_to_action, **absolute)  # type: ignore[arg-type]
    draft = lerobot_draft(true, tmp_path / "raw", names)

    assert blanks(draft) == {"left", "right"}
    assert any("the data does not tell which arm is the left one" in one for one in draft.untold)
    first, second = (name for name in readings(draft) if "POSE" not in name)
    path, found = filled(draft, tmp_path, left=first, right=second)
    same(found.left, true.left)
    same(found.right, true.right)
    assert found.rows_to_action == rows_to_action
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_so101_leaves_open_whether_degrees_are_degrees(tmp_path: Path) -> None:
    draft = lerobot_draft(SO101, tmp_path / "raw", SO101_NAMES)
    assert blanks(draft) == {"unit_rad"} | GRIPPER
    assert any("LeRobot's -100 to 100, a share of each joint's range" in one for one in draft.untold)
    assert any("observation.state (value 5) is 0 to 100" in one for one in draft.evidence)
    path, found = filled(draft, tmp_path, unit_rad="0.0174533")
    same(found.right, SO101.right)
    assert found.left is None
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_joints_and_a_gripper_without_names_are_told_by_what_they_do(tmp_path: Path) -> None:
    """Seven values that lead to the next row may be a pose with three angles, or six joints; the gripper rests."""
    true = replace(SO101, columns={STATE: 7, ACTION: 7}, right=joint_arm(0, 6, Motion.ABSOLUTE))
    draft = lerobot_draft(true, tmp_path / "raw", None)
    assert any("at its ends in" in one and "it is the gripper" in one for one in draft.evidence)
    choice = "RIGHT_JOINTS" if "right" in blanks(draft) else ""
    path, found = filled(draft, tmp_path, right=choice)
    same(found.right, true.right)
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_seven_joints_without_a_gripper(tmp_path: Path) -> None:
    """Without names, nothing tells a seventh joint from a gripper that stays between its ends."""
    many = lerobot_draft(NO_GRIPPER, tmp_path / "many", [f"joint_{number}" for number in range(26)])
    assert any("right.joints.start: which 7 of the 26 values" in one for one in many.untold)
    true = replace(NO_GRIPPER, columns={STATE: 7, ACTION: 7})
    named = lerobot_draft(true, tmp_path / "seven", [f"joint_{number}" for number in range(7)])
    assert blanks(named) == set()
    same(filled(named, tmp_path)[1].right, true.right)

    draft = lerobot_draft(true, tmp_path / "raw", None)
    assert any(
        "a Gripper(...) of the last value, or None if that is a joint too (then count=7)" in one for one in draft.untold
    )
    assert readings(draft) == ["RIGHT_JOINTS", "RIGHT_POSE"]
    path, _ = filled(draft, tmp_path, right="RIGHT_JOINTS", gripper="None")
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_the_hint_of_a_urdf_gives_poses_once_it_is_filled_in(tmp_path: Path) -> None:
    true = replace(SO101, columns={STATE: 7, ACTION: 7}, right=joint_arm(0, 6, Motion.ABSOLUTE))
    draft = lerobot_draft(true, tmp_path / "raw", [f"joint_{number}" for number in range(6)] + ["gripper"])
    hint = draft.text[draft.text.index("# from pathlib") : draft.text.index("SOURCE = ")].replace("\n# ", "\n")
    imports, code = hint.removeprefix("# ").split("right:\n")
    for told in ("l0", "tool", *(f"j{number}" for number in range(6))):
        code = code.replace('"TODO"', f'"{told}"', 1)
    (tmp_path / "ur5e.urdf").write_text(dh_robot())
    text = imports + draft.text.replace("right=ArmColumns(\n", f"right=ArmColumns(\n{code.replace('TODO', 'ur5e')}")

    path, found = filled(replace(draft, text=text), tmp_path)
    assert found.right is not None
    assert found.right.kinematics is not None
    assert found.right.kinematics.joints == tuple(f"j{number}" for number in range(6))
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")
    clip = vita_data.open_source(tmp_path / "built" / "my_draft")[0]
    assert clip.action_mask[RIGHT_ACTION : RIGHT_ACTION + 6].all()


def test_only_arms_without_a_pose_get_the_hint(tmp_path: Path) -> None:
    true = pose_arm("obs/state", "actions", Motion.DELTA, Frame.BASE, RotationForm.QUAT_XYZW)
    own = shared(common("true_pose", true, {"obs/state": 8, "actions": 7}, "obs/image"))
    source = Hdf5Source(Hdf5Declaration(**own, files="*.hdf5", text_attribute="task"))  # type: ignore[arg-type]
    assert "Kinematics" not in drafted(source, tmp_path / "raw").text
    pair = lerobot_draft(ALOHA, tmp_path / "pair", ALOHA_NAMES).text
    assert re.findall(r"^# (\w+):\n#     kinematics=Kinematics\(", pair, re.MULTILINE) == ["left", "right"]


FEW = replace(SO101, columns={STATE: 4, ACTION: 4}, right=joint_arm(0, 3, Motion.ABSOLUTE))


@pytest.mark.parametrize("motion", [Motion.ABSOLUTE, Motion.DELTA])
@pytest.mark.parametrize(
    "names",
    [
        ["joint_0", "joint_1", "joint_2", "gripper"],
        ["shoulder_pan.pos", "elbow_flex.pos", "wrist_roll.pos", "gripper.pos"],
        None,
    ],
)
def test_three_joints_and_a_gripper(tmp_path: Path, names: list[str] | None, motion: Motion) -> None:
    true = replace(FEW, right=joint_arm(0, 3, motion))
    draft = lerobot_draft(true, tmp_path / "raw", names)
    assert blanks(draft) == GRIPPER
    path, found = filled(draft, tmp_path)
    same(found.right, true.right)
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


@pytest.mark.parametrize(
    "names",
    [
        ["x", "y", "z", "gripper"],
        ["wrist_x", "wrist_y", "wrist_z", "gripper"],
        ["shoulder_torque", "elbow_torque", "wrist_torque", "gripper"],
        ["base_a", "base_b", "base_c", "gripper"],
    ],
)
def test_three_values_of_other_names_are_not_joints(tmp_path: Path, names: list[str]) -> None:
    draft = lerobot_draft(FEW, tmp_path / "raw", names)
    assert blanks(draft) == {"right"}
    assert any("right: found no position and rotation of a hand, and no joints" in one for one in draft.untold)


def test_fingers_in_a_column_of_their_own_are_not_joints(tmp_path: Path) -> None:
    """As robosuite has them: `gripper_qpos` with two fingers, which follow the last value of the action."""
    right = replace(hdf5_joints("obs/gripper_qpos", 0), gripper=None)
    columns = {"obs/gripper_qpos": 3, "actions": 3}
    fingers = replace(
        right,
        joints=Joints("obs/gripper_qpos", 0, count=3, unit_rad=1.0),
        action=JointAction(motion=Motion.ABSOLUTE, joints=Joints("actions", 0, count=3, unit_rad=1.0), gripper=None),
    )
    own = shared(common("true_fingers", fingers, columns, "obs/image"))
    source = Hdf5Source(Hdf5Declaration(**own, files="*.hdf5", text_attribute="task"))  # type: ignore[arg-type]
    assert blanks(drafted(source, tmp_path / "raw")) == {"hz", "right"}


def two_armed(left: ArmColumns, right: ArmColumns, widths: dict[str, int]) -> Hdf5Source:
    own = shared(replace(common("true_pair", right, widths, "obs/image"), left=left))
    return Hdf5Source(Hdf5Declaration(**own, files="*.hdf5", text_attribute="task"))  # type: ignore[arg-type]


def hdf5_joints(state: str, action: int, *, start: int = 0) -> ArmColumns:
    made = joint_arm(start, 6, Motion.ABSOLUTE)
    assert made.joints is not None
    assert made.gripper is not None
    assert made.action.gripper is not None
    return replace(
        made,
        joints=replace(made.joints, key=state),
        gripper=replace(made.gripper, key=state),
        action=replace(
            made.action,
            joints=Joints("actions", action, count=6, unit_rad=1.0),
            gripper=replace(made.action.gripper, key="actions", start=action + 6),
        ),
    )


def test_two_arms_of_hdf5_are_told_by_their_keys_and_by_the_half_that_each_follows(tmp_path: Path) -> None:
    """The action has no names, and its first half is the right arm's."""
    widths = {"obs/left_qpos": 7, "obs/right_qpos": 7, "actions": 14}
    source = two_armed(hdf5_joints("obs/left_qpos", 7), hdf5_joints("obs/right_qpos", 0), widths)
    draft = drafted(source, tmp_path / "raw")
    assert blanks(draft) == {"hz"} | GRIPPER
    path, found = filled(draft, tmp_path)
    same(found.left, source.declaration.left)
    same(found.right, source.declaration.right)
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_two_arms_in_halves_of_hdf5(tmp_path: Path) -> None:
    """As ALOHA's own files have them: one `qpos` and one action of 14 values."""
    source = two_armed(hdf5_joints("obs/qpos", 0), hdf5_joints("obs/qpos", 7, start=7), {"obs/qpos": 14, "actions": 14})
    draft = drafted(source, tmp_path / "raw")
    assert blanks(draft) == {"hz", "left", "right"}
    path, found = filled(draft, tmp_path, left="FIRST", right="SECOND")
    same(found.left, source.declaration.left)
    same(found.right, source.declaration.right)
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_two_hands_with_poses_are_two_arms(tmp_path: Path) -> None:
    """As robosuite writes two robots: which one is the left one, its numbers do not tell."""

    def pose(robot: int) -> ArmColumns:
        state = f"obs/robot{robot}_state"
        made = pose_arm(state, "actions", Motion.DELTA, Frame.BASE, RotationForm.QUAT_XYZW)
        action = replace(
            made.action,
            position=replace(made.action.position, start=7 * robot),
            rotation=replace(made.action.rotation, start=7 * robot + 3),
            gripper=replace(made.action.gripper, start=7 * robot + 6),
        )
        return replace(made, action=action)

    source = two_armed(pose(0), pose(1), {"obs/robot0_state": 8, "obs/robot1_state": 8, "actions": 14})
    draft = drafted(source, tmp_path / "raw")
    assert blanks(draft) == {"hz", "left", "right"}
    path, found = filled(draft, tmp_path, left="FIRST", right="SECOND")
    for mine, own in ((found.left, source.declaration.left), (found.right, source.declaration.right)):
        assert mine is not None
        assert own is not None
        assert (mine.position, mine.rotation) == (own.position, own.rotation)
        assert mine.action.position == own.action.position
        assert mine.action.gripper == own.action.gripper
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")


def test_the_real_g1_is_two_arms_of_seven_joints(real_data: Path, tmp_path: Path) -> None:
    with FsspecTree(str(real_data / "lerobot_g1")) as raw:
        draft = draft_source(raw, name="my_draft")
    assert blanks(draft) == {"gripper"}
    assert any("action (values 14 to 19), klefthandpinky" in one for one in draft.untold)
    true = G1.declaration
    assert true.left is not None
    assert true.right is not None
    _, found = filled(draft, tmp_path, gripper="None")
    for mine, own in ((found.left, true.left), (found.right, true.right)):
        same(mine, replace(own, gripper=None, action=replace(own.action, gripper=None)))


def test_sides_that_are_named_may_still_be_joints_or_poses(tmp_path: Path) -> None:
    """Nothing but their numbers tells what `left_state` is: six joints, or a position and three angles."""
    widths = {"obs/left_state": 7, "obs/right_state": 7, "actions": 14}
    source = two_armed(hdf5_joints("obs/left_state", 0), hdf5_joints("obs/right_state", 7), widths)
    draft = drafted(source, tmp_path / "raw")
    assert blanks(draft) == {"hz", "left", "right"}
    assert readings(draft) == ["LEFT_JOINTS", "LEFT_POSE", "RIGHT_JOINTS", "RIGHT_POSE"]
    path, found = filled(draft, tmp_path, left="LEFT_JOINTS", right="RIGHT_JOINTS")
    same(found.left, source.declaration.left)
    same(found.right, source.declaration.right)
    require_it_builds(path, tmp_path / "raw", tmp_path / "built")
