"""A draft says what the true declaration of its tree says, where the numbers show it; the rest is left open."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.action_convention import Flip
from vita_data.cli.main import main
from vita_data.declared import (
    ArmColumns,
    Camera,
    Declaration,
    Frame,
    Gripper,
    Hdf5Declaration,
    Hdf5Source,
    Joints,
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    PoseAction,
    Position,
    RldsDeclaration,
    RldsSource,
    Rotation,
    RotationForm,
)
from vita_data.drafts import Draft, draft_source
from vita_data.drafts.contents import find_contents
from vita_data.drafts.render import render
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources import load, load_own
from vita_data.types import ActionOrigin, CameraRole, Source, TextStyle

DEGREES = np.pi / 180


def arm(state: str, action: str, motion: Motion, frame: Frame, form: RotationForm, *, joints: str = "") -> ArmColumns:
    angles = form if motion is Motion.ABSOLUTE else RotationForm.AXIS_ANGLE
    width = 4 if form in (RotationForm.QUAT_XYZW, RotationForm.QUAT_WXYZ) else 6 if form is RotationForm.ROT6D else 3
    turned = width if motion is Motion.ABSOLUTE else 3
    return ArmColumns(
        position=Position(state, 0, unit_m=1.0),
        rotation=Rotation(state, 3, form, unit_rad=1.0),
        gripper=Gripper(state, 3 + width, open=0.085, closed=0.0),
        joints=Joints(f"{joints}pos", 0, count=6, unit_rad=DEGREES) if joints else None,
        action=PoseAction(
            motion=motion,
            frame=frame,
            position=Position(action, 0, unit_m=1.0),
            rotation=Rotation(action, 3, angles, unit_rad=1.0),
            gripper=Gripper(action, 3 + turned, open=-1.0, closed=1.0),
        ),
        joint_speeds=Joints(f"{joints}vel", 0, count=6, unit_rad=DEGREES) if joints else None,
    )


def common(name: str, right: ArmColumns, columns: Mapping[str, int], camera: str) -> Declaration:
    return Declaration(
        name=name, title="My arm", embodiment="ur5e", hz=10.0, columns=columns, right=right, left=None,
        cameras=(Camera(role=CameraRole.PRIMARY, key=camera, turned=Flip.NONE),),
        action_origin=ActionOrigin.COMMANDED, rows_to_action=0, lag=0, text_style=TextStyle.IMPERATIVE,
        text_origin="human", licence="ours", redistributable=False, url="https://example.org", access="in house",
    )  # fmt: skip


def shared(declared: Declaration) -> dict[str, object]:
    return {one.name: getattr(declared, one.name) for one in fields(Declaration)}


def lerobot(motion: Motion, frame: Frame, form: RotationForm, *, labelled: float = 10.0) -> LeRobotDeclaration:
    right = arm("observation.state", "action", motion, frame, form, joints="observation.joint_")
    widths = {"observation.state": 12, "action": 12, "observation.joint_pos": 6, "observation.joint_vel": 6}
    declared = shared(common("true_arm", right, widths, "observation.images.front"))
    return LeRobotDeclaration(**declared, labelled_fps=labelled, text_column=None)  # type: ignore[arg-type]


def drafted(source: Source, root: Path) -> Draft:
    root.mkdir()
    source.write_toy(str(root))
    with FsspecTree(str(root)) as raw:
        return draft_source(raw, name="my_draft")


def filled(draft: Draft, folder: Path) -> Declaration:
    """Fill the facts that no data tells, and load the draft."""
    texts = ("embodiment", "text_origin", "licence", "url", "access")
    text = re.sub(rf"({'|'.join(texts)})=TODO", r'\1="human"', draft.text)
    path = folder / "my_draft.py"
    path.write_text(re.sub(r"redistributable=TODO", "redistributable=False", text))
    found = load_own(str(path))
    assert isinstance(found, LeRobotSource | RldsSource | Hdf5Source)
    return found.declaration


def require_same_meaning(found: Declaration, true: Declaration) -> None:
    assert found.right is not None
    assert true.right is not None
    assert (found.rows_to_action, found.lag, found.hz) == (
        true.rows_to_action,
        true.lag,
        pytest.approx(true.hz, rel=0.05),
    )
    assert found.right.action.motion is true.right.action.motion
    assert found.right.action.frame is true.right.action.frame
    assert found.right.position == true.right.position
    assert found.right.rotation == true.right.rotation
    assert found.right.action.position == true.right.action.position
    for mine, own in (
        (found.right.gripper, true.right.gripper),
        (found.right.action.gripper, true.right.action.gripper),
    ):
        assert mine is not None
        assert own is not None
        assert (mine.key, mine.start) == (own.key, own.start)
        assert (mine.open, mine.closed) == (pytest.approx(own.open, abs=2e-3), pytest.approx(own.closed, abs=2e-3))


@pytest.mark.parametrize("rows_to_action", [0, 1])
@pytest.mark.parametrize(
    ("frame", "form"),
    [(Frame.BASE, RotationForm.AXIS_ANGLE), (Frame.BASE, RotationForm.QUAT_WXYZ), (Frame.HAND, RotationForm.ROT6D)],
)
def test_deltas_of_lerobot_are_told(tmp_path: Path, frame: Frame, form: RotationForm, rows_to_action: int) -> None:
    true = replace(lerobot(Motion.DELTA, frame, form), rows_to_action=rows_to_action)
    draft = drafted(LeRobotSource(true), tmp_path / "raw")
    found = filled(draft, tmp_path)

    require_same_meaning(found, true)
    assert isinstance(found, LeRobotDeclaration)
    assert found.labelled_fps == 10.0
    assert found.right is not None
    assert found.right.joints == Joints("observation.joint_pos", 0, count=6, unit_rad=pytest.approx(DEGREES, rel=1e-4))
    assert found.cameras == true.cameras


def test_poses_are_told_apart_from_deltas_and_a_wrong_label_is_named(tmp_path: Path) -> None:
    true = lerobot(Motion.ABSOLUTE, Frame.BASE, RotationForm.ROT6D, labelled=20.0)
    draft = drafted(LeRobotSource(true), tmp_path / "raw")

    assert "motion=Motion.ABSOLUTE" in draft.text
    assert "form=RotationForm.ROT6D" in draft.text
    assert re.search(r"hz=TODO", draft.text)
    assert any(
        re.search(r"hz: the rate: joint velocities imply (9\.\d+|10(\.\d+)?); the label says 20", one)
        for one in draft.untold
    )
    with pytest.raises(RequestError, match=r"line \d+: NameError: name 'TODO' is not defined"):
        filled(draft, tmp_path)


def test_what_poses_alone_do_not_tell_is_left_open(tmp_path: Path) -> None:
    draft = drafted(LeRobotSource(lerobot(Motion.ABSOLUTE, Frame.BASE, RotationForm.QUAT_XYZW)), tmp_path / "raw")
    assert draft.text.count("form=TODO") == 2
    assert any("possible for observation.state (values 3 to 6): quaternion x y z w, quaternion w x y z" in one
               for one in draft.untold)  # fmt: skip


def test_rlds_and_hdf5_are_told_too(tmp_path: Path) -> None:
    state, action = "steps/observation/state", "steps/action"
    right = arm(state, action, Motion.DELTA, Frame.BASE, RotationForm.QUAT_XYZW)
    own = shared(common("true_rlds", right, {state: 8, action: 7}, "steps/observation/image"))
    rlds = RldsDeclaration(**own, datasets=("my_set",), text_column="steps/language_instruction")  # type: ignore[arg-type]
    right = arm("obs/state", "actions", Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE)
    own = shared(common("true_demos", right, {"obs/state": 7, "actions": 7}, "obs/image"))
    hdf5 = Hdf5Declaration(**own, files="*/*.hdf5", text_attribute="task")  # type: ignore[arg-type]
    for number, (source, true) in enumerate(((RldsSource(rlds), rlds), (Hdf5Source(hdf5), hdf5))):
        draft = drafted(source, tmp_path / f"raw_{number}")
        assert any("hz: the rate of the rows" in one for one in draft.untold)
        found = filled(replace(draft, text=draft.text.replace("hz=TODO", "hz=10.0")), tmp_path)
        require_same_meaning(found, true)
        for name in ("datasets", "text_column", "files", "text_attribute"):
            assert getattr(found, name, None) == getattr(true, name, None)


def test_files_that_are_only_listed_are_not_opened(tmp_path: Path) -> None:
    """Before, a description of 100,000 files kept the command busy for hours."""
    load("bridge").write_toy(str(tmp_path))
    (info,) = tmp_path.glob("*/*/dataset_info.json")
    described = json.loads(info.read_text())
    described["splits"] = [{**described["splits"][0], "shardLengths": ["1"] * 400}]
    info.write_text(json.dumps(described))
    (first,) = info.parent.glob("*train.tfrecord-00000-of-00002")
    first.rename(first.with_name("bridge_dataset-train.tfrecord-00399-of-00400"))
    opened: list[str] = []
    found = find_contents(FsspecTree(str(tmp_path), on_open=opened.append))
    assert found.columns
    assert len([path for path in opened if ".tfrecord" in path]) == 1


def test_the_verb_lists_what_it_did_not_understand_and_its_draft_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true = lerobot(Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE)
    raw, out = tmp_path / "raw", tmp_path / "my_draft.py"
    raw.mkdir()
    LeRobotSource(true).write_toy(str(raw))
    (raw / "calibration").mkdir()
    (raw / "calibration" / "hand_eye.yaml").write_text("x: 1\n")
    (raw / "notes.txt").write_text("mind the camera\n")
    asked = ["new-source", "--from", str(raw), "--out", str(out)]

    assert main(asked) == 0
    shown = capsys.readouterr()
    assert "  calibration/hand_eye.yaml\n  meta/tasks.parquet\n  notes.txt" in shown.out
    assert f"vita-data probe --source-file {out} --raw {raw}" in shown.err
    assert main(asked) == 2
    assert "expected the path of a new file that ends in .py" in capsys.readouterr().err
    text = re.sub(r"(embodiment|text_origin|licence|url|access)=TODO", r'\1="human"', out.read_text())
    out.write_text(text.replace("redistributable=TODO", "redistributable=False"))
    words = ["--source-file", str(out), "--raw", str(raw)]
    assert main(["build", *words, "--out", str(tmp_path / "shards"), "--workers", "1", "--quiet"]) == 0
    capsys.readouterr()
    assert main([*asked[:3], "--out", str(tmp_path / "other.py"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unread"]["num_files"] == 3
    assert any("probe P2 integration: held" in line for line in told["evidence"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "a.txt"], "a new file that ends in .py"),
        (["--out", "a.py", "--name", "bridge"], "no source that exists"),
        (["--out", "a.py", "--name", "my arm"], "letters, digits and underscores"),
        (["--out", "a.py"], "found no meta/info.json (LeRobot), <name>/<version>/dataset_info.json (RLDS) or *.hdf5"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert main(["new-source", "--from", str(tmp_path), *words]) == 2
    shown = capsys.readouterr().err
    assert (told in shown, shown.count("\n")) == (True, 1)
    assert shown.startswith("vita-data new-source: ")
    assert not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ("{}/nowhere", "the folder does not exist"),
        ("{}/notes.txt", "is a file; give the folder that contains it"),
        ("hf://datasets/no_slash", "expected hf://datasets/ORG/NAME"),
        ("nothing://bucket/data", "this kind of address cannot be read"),
        ("~nobody_here/data", "~nobody_here"),
    ],
)
def test_a_tree_that_cannot_be_read_is_named_by_its_own_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tree: str, told: str
) -> None:
    (tmp_path / "notes.txt").touch()
    tree = tree.format(tmp_path)
    assert main(["new-source", "--from", tree, "--out", str(tmp_path / "a.py")]) == 2
    shown = capsys.readouterr().err
    assert "--from " in shown
    assert told in shown
    assert "--raw" not in shown


@pytest.mark.parametrize(
    "key", ["');end()#", '");end()#', "it's", "a\n\r\x0c\u2028b", "\x00\x1b", "\ud800", "\\", "'\""]
)
def test_names_of_strangers_stay_texts_in_the_draft(key: str) -> None:
    camera = Camera(role=CameraRole.PRIMARY, key=key, turned=Flip.NONE)
    code = render(camera, untold=()), render({key: 7}, untold=())
    "".join(code).encode()  # has no lone surrogates
    assert eval(code[0]) == camera
    assert eval(code[1]) == {key: 7}


def test_a_tree_of_a_stranger_does_not_put_code_into_the_draft(tmp_path: Path) -> None:
    raw = tmp_path / 'raw"""\nraise SystemExit #'
    right = arm("obs/state", "actions", Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE)
    own = shared(common("true_demos", right, {"obs/state": 7, "actions": 7}, "obs/image"))
    raw.mkdir()
    Hdf5Source(Hdf5Declaration(**own, files="*/*.hdf5", text_attribute="task")).write_toy(str(raw))  # type: ignore[arg-type]
    for path in raw.glob("*/*.hdf5"):
        with h5py.File(path, "a") as file:
            for demo in file["data"].values():
                demo.move("obs/image", "obs/image');raise SystemExit#")
                demo.attrs["task\r\nraise SystemExit"] = demo.attrs.pop("task")
    with FsspecTree(str(raw)) as tree:
        draft = draft_source(tree, name="my_draft")
    found = filled(replace(draft, text=draft.text.replace("hz=TODO", "hz=10.0")), tmp_path)
    assert [camera.key for camera in found.cameras] == ["obs/image');raise SystemExit#"]
    assert getattr(found, "text_attribute", None) == "task\r\nraise SystemExit"


def test_real_demonstrations_without_images_are_read_as_they_are(real_data: Path) -> None:
    """Isaac Lab's stacking task: OSC deltas of 0.1, quaternions w x y z, 20 Hz."""
    folder = real_data / "robomimic_hdf5"
    with FsspecTree(str(folder)) as raw:
        draft = draft_source(raw, name="my_draft")

    assert "motion=Motion.DELTA" in draft.text
    assert 'rotation=Rotation("obs/eef_quat", 0, form=RotationForm.QUAT_WXYZ, unit_rad=1.0)' in draft.text
    assert 'gripper=Gripper("actions", 6, open=1.0, closed=-1.0)' in draft.text
    unit = re.search(r'position=Position\("actions", 0, unit_m=([\d.]+)\)', draft.text)
    assert unit is not None
    assert float(unit[1]) == pytest.approx(0.1, rel=0.1)
    assert "cameras=()," in draft.text
    assert any("probe P1 schema: held" in one for one in draft.evidence)
    with h5py.File(next(folder.glob("*.hdf5"))) as file:
        assert set(draft.unused) >= {"obs/cube_positions"} & set(file["data/demo_0"])


def test_a_message_names_the_option_by_itself_and_text_that_only_looks_like_it_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "--raw"
    tree.touch()
    assert main(["new-source", "--from", str(tree), "--out", str(tmp_path / "a.py")]) == 2
    assert f"--from {tree} is a file" in capsys.readouterr().err
    with pytest.raises(RequestError, match=f"^--from {tmp_path}/absent: the folder does not exist"):
        FsspecTree(f"{tmp_path}/absent", option="--from")
    with pytest.raises(RequestError, match=f"^--raw {tmp_path}/absent: the folder does not exist"):
        FsspecTree(f"{tmp_path}/absent")
