"""A declaration makes a source from a LeRobot dataset; one that does not fit the data is refused in words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    Joints,
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.declared.arm import take_rotation
from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_arm
from vita_data.geometry import matrix_from_euler_xyz
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.vectors import arm_delta
from vita_data.types import (
    ActionOrigin,
    Arm,
    CameraRole,
    Clip,
    Drop,
    Episode,
    Failure,
    Outcome,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    TextStyle,
)

STATE, ACTION = "observation.state", "action"
WIDTHS = {RotationForm.QUAT_XYZW: 4, RotationForm.QUAT_WXYZ: 4, RotationForm.ROT6D: 6}


def arm(motion: Motion, frame: Frame, form: RotationForm, *, start: int = 0) -> ArmColumns:
    width = WIDTHS.get(form, 3)
    return ArmColumns(
        position=Position(STATE, start, unit_m=1.0),
        rotation=Rotation(STATE, start + 3, form, unit_rad=1.0),
        gripper=Gripper(STATE, start + 3 + width, open=0.085, closed=0.0),
        joints=Joints(STATE, start + 4 + width, count=6, unit_rad=np.pi / 180),
        action=PoseAction(
            motion=motion,
            frame=frame,
            position=Position(ACTION, start, unit_m=0.05),
            rotation=Rotation(ACTION, start + 3, form, unit_rad=0.5 if width == 3 else 1.0),
            gripper=Gripper(ACTION, start + 3 + width, open=-1.0, closed=1.0),
        ),
    )


def declaration(
    motion: Motion = Motion.ABSOLUTE, frame: Frame = Frame.BASE, form: RotationForm = RotationForm.AXIS_ANGLE
) -> LeRobotDeclaration:
    return LeRobotDeclaration(
        name="my_arm",
        title="My arm",
        embodiment="ur5e",
        hz=10.0,
        labelled_fps=20.0,
        columns={STATE: 20, ACTION: 12},
        cameras=(
            Camera(role=CameraRole.PRIMARY, key="observation.images.front", turned=Flip.NONE),
            Camera(role=CameraRole.WRIST_RIGHT, key="observation.images.wrist", turned=Flip.ROT180),
        ),
        right=arm(motion, frame, form),
        left=None,
        action_origin=ActionOrigin.COMMANDED,
        rows_to_action=0,
        lag=0,
        text_style=TextStyle.IMPERATIVE,
        text_origin="human",
        text_column=None,
        licence="ours",
        redistributable=False,
        url="https://example.org",
        access="in house",
    )


def written(root: Path, declared: LeRobotDeclaration) -> tuple[LeRobotSource, FsspecTree]:
    source = LeRobotSource(declared)
    root.mkdir()
    source.write_toy(str(root))
    return source, FsspecTree(str(root))


def normalized(source: LeRobotSource, episode: Episode) -> tuple[Clip, ...]:
    found = normalize(episode, source.INFO, SourceSettings(), FrameSelection.KEYFRAMES)
    assert not isinstance(found, Drop)
    return found


def shifted(clip: Clip) -> Clip:
    """The same clip with other actions."""
    assert clip.action is not None
    track = clip.action.track
    other = replace(track, values=track.values + np.float32(1e-4) * track.mask)
    return replace(clip, action=replace(clip.action, track=other))


def outcomes(source: LeRobotSource, raw: FsspecTree) -> list[Outcome]:
    settings = SourceSettings()
    return [found for part in source.parts(raw, settings) for found in source.episodes(raw, part, settings)]


def episodes(source: LeRobotSource, raw: FsspecTree) -> list[Episode]:
    found = outcomes(source, raw)
    assert all(isinstance(one, Episode) for one in found), found
    return [one for one in found if isinstance(one, Episode)]


MOTIONS = [
    (Motion.ABSOLUTE, Frame.BASE, RotationForm.AXIS_ANGLE),
    (Motion.ABSOLUTE, Frame.BASE, RotationForm.QUAT_XYZW),
    (Motion.ABSOLUTE, Frame.BASE, RotationForm.QUAT_WXYZ),
    (Motion.ABSOLUTE, Frame.BASE, RotationForm.ROT6D),
    (Motion.DELTA, Frame.BASE, RotationForm.EULER_XYZ),
    (Motion.DELTA, Frame.HAND, RotationForm.AXIS_ANGLE),
    (Motion.EULER_DIFFERENCE, Frame.BASE, RotationForm.EULER_XYZ),
]


@pytest.mark.parametrize("rows_to_action", [0, 1])
@pytest.mark.parametrize(("motion", "frame", "form"), MOTIONS)
def test_every_declared_form_reads_back_as_the_same_motion(
    tmp_path: Path, motion: Motion, frame: Frame, form: RotationForm, rows_to_action: int
) -> None:
    declared = replace(declaration(motion, frame, form), rows_to_action=rows_to_action)
    first = episodes(*written(tmp_path / "raw", declared))[0]
    made, num_rows = toy_arm(31, hz=10.0, seed=1), 30 - rows_to_action
    found = first.right
    assert isinstance(found, Arm)
    assert found.action is not None
    assert found.rotation is not None

    assert (len(first.step_index), first.hz, first.arms) == (num_rows, 10.0, "right")
    assert found.xyz_m == pytest.approx(made.xyz_m[:num_rows], abs=1e-6)
    assert found.rotation == pytest.approx(made.rotation[:num_rows], abs=1e-5)
    assert found.gripper_open == pytest.approx(made.gripper_open[:num_rows], abs=1e-6)
    assert found.joint_position_rad == pytest.approx(made.joint_position_rad[:num_rows, :6], abs=1e-6)
    assert found.action.gripper_open == pytest.approx(made.gripper_open[1 : num_rows + 1], abs=1e-6)
    delta = arm_delta(found, found.action)
    assert found.xyz_m + delta[:, :3] == pytest.approx(made.xyz_m[1 : num_rows + 1], abs=1e-5)
    reached = matrix_from_euler_xyz(delta[:, 3:]) @ found.rotation
    assert reached == pytest.approx(made.rotation[1 : num_rows + 1], abs=1e-5)


@pytest.mark.parametrize("rows_to_action", [0, 1])
@pytest.mark.parametrize(("motion", "frame", "form"), MOTIONS)
def test_every_declared_form_gives_its_commands_back(
    tmp_path: Path, motion: Motion, frame: Frame, form: RotationForm, rows_to_action: int
) -> None:
    declared = replace(declaration(motion, frame, form), rows_to_action=rows_to_action)
    source, raw = written(tmp_path / "raw", declared)
    (clip,) = normalized(source, episodes(source, raw)[0])
    pairs = source.command_reader(raw, SourceSettings())(clip)

    assert len(pairs) == 3
    assert {pair.name: pair.errors.max() for pair in pairs if pair.errors.max() > 1e-6} == {}
    assert all(pair.errors.max() > 1e-6 for pair in source.command_reader(raw, SourceSettings())(shifted(clip)))
    with pytest.raises(EpisodeError, match="expected a row"):
        source.command_reader(raw, SourceSettings())(replace(clip, step_index=clip.step_index + 1))


def test_frames_are_those_of_their_rows_and_upright(tmp_path: Path) -> None:
    found = episodes(*written(tmp_path / "raw", declaration()))

    assert [one.id for one in found] == [
        "data/chunk-000/file-000.parquet#episode_000000",
        "data/chunk-000/file-000.parquet#episode_000001",
        "data/chunk-000/file-001.parquet#episode_000002",
    ]
    for number, one in enumerate(found):
        for place, role in enumerate((CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)):
            (last,) = one.cameras[role].read([len(one.step_index) - 1], ResizeMode.PLAIN)
            assert isinstance(last, RgbFrame)
            mark = read_toy_frame(last.pixels)
            assert (mark.step, mark.camera, mark.episode) == (len(one.step_index) - 1, place, number)
            assert mark.upright
    assert [one.instructions[0].text for one in found][1] == "push the red block to the left"


def test_two_arms_and_texts_of_a_column(tmp_path: Path) -> None:
    both = replace(
        declaration(),
        columns={STATE: 26, ACTION: 14},
        left=arm(Motion.ABSOLUTE, Frame.BASE, RotationForm.AXIS_ANGLE, start=0),
        right=arm(Motion.ABSOLUTE, Frame.BASE, RotationForm.AXIS_ANGLE, start=7),
        text_column="instruction",
    )
    both = replace(both, left=replace(both.left, joints=None), right=replace(both.right, joints=None))
    found = episodes(*written(tmp_path / "raw", both))[0]

    assert found.arms == "both"
    assert isinstance(found.left, Arm)
    assert found.left.xyz_m == pytest.approx(toy_arm(31, hz=10.0, seed=0).xyz_m[:30], abs=1e-6)
    assert [text.text for text in found.instructions] == ["put the cup on the shelf"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": {STATE: 13, ACTION: 12}}, r"'observation.state' has shape \[20\], expected \[13\]"),
        ({"columns": {STATE: 20, ACTION: 12, "tcp": 6}}, "feature 'tcp' not found, expected 6 values per row"),
        ({"labelled_fps": 10.0}, "fps is 20, but the declaration of my_arm says labelled_fps=10"),
        ({"text_column": "text"}, "feature 'text' not found, expected a text per row"),
        ({"text_column": STATE}, "'observation.state' is float32, expected string"),
        (
            {"cameras": (Camera(role=CameraRole.PRIMARY, key="top", turned=Flip.NONE),)},
            "camera 'top' not found.*Found: .*observation.images.front .video 128x128x3",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_before_anything_is_read(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    _, raw = written(tmp_path / "raw", declaration())
    with pytest.raises(RequestError, match=told):
        LeRobotSource(replace(declaration(), **change)).parts(raw, SourceSettings())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": {STATE: 12, ACTION: 12}}, r"'observation.state': values 7 to 12 of a column of 12"),
        ({"columns": {STATE: 20}}, "'action' is used, but not listed in columns"),
        ({"cameras": declaration().cameras[1:]}, "one must have the role PRIMARY"),
        ({"action_origin": None}, "action_origin: give it if, and only if"),
        ({"name": "my arm"}, "expected letters, digits and underscores"),
        ({"hz": 0.0}, "hz and labelled_fps must be greater than 0"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(declaration(), **change)


def test_an_arm_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match=r"declare frame=Frame\.BASE"):
        arm(Motion.ABSOLUTE, Frame.HAND, RotationForm.AXIS_ANGLE)
    with pytest.raises(ValueError, match="needs rotation form EULER_XYZ"):
        arm(Motion.EULER_DIFFERENCE, Frame.BASE, RotationForm.AXIS_ANGLE)
    with pytest.raises(ValueError, match="needs the position and rotation"):
        replace(arm(Motion.DELTA, Frame.HAND, RotationForm.AXIS_ANGLE), position=None)
    with pytest.raises(ValueError, match="open and closed at 1"):
        replace(arm(Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE), gripper=Gripper(STATE, 6, open=1.0, closed=1.0))


def test_an_episode_that_disagrees_with_the_list_fails_alone(tmp_path: Path) -> None:
    source, raw = written(tmp_path / "raw", declaration())
    path = tmp_path / "raw/data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("timestamp")
    late = table["timestamp"].to_numpy() + (table["episode_index"].to_numpy() == 1) * (
        table["frame_index"].to_numpy() > 9
    )
    pq.write_table(table.set_column(at, table.schema.field(at), [late.astype(np.float32)]), path)
    found = outcomes(source, raw)

    assert [type(one) for one in found] == [Episode, Failure, Episode]
    assert isinstance(found[1], Failure)
    assert "episode_000001: row 10 is at 1.5000 s, expected 0.5000 s at 20 fps" in found[1].detail


def test_rows_without_times_fail_their_episode(tmp_path: Path) -> None:
    """Before, an arm without a video was stored as if its rows had the declared rate."""
    source, raw = written(tmp_path / "raw", replace(declaration(), cameras=()))
    path = tmp_path / "raw/data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("timestamp")
    none = np.where(table["episode_index"].to_numpy() == 1, np.nan, table["timestamp"].to_numpy()).astype(np.float32)
    pq.write_table(table.set_column(at, table.schema.field(at), [none]), path)
    found = outcomes(source, raw)

    assert [type(one) for one in found] == [Episode, Failure, Episode]
    assert isinstance(found[1], Failure)
    assert "row 0 is at nan s, expected 0.0000 s at 20 fps" in found[1].detail


@pytest.mark.parametrize(
    ("form", "values", "fault"),
    [
        (RotationForm.QUAT_XYZW, (0, 0, 0, 0), "a quaternion of norm 0 in row 1"),
        (RotationForm.QUAT_XYZW, (0, 0, 0, 0.01), "a quaternion of norm 0.01 in row 1"),
        (RotationForm.QUAT_WXYZ, (1e200, 0, 0, 0), "a quaternion of norm inf in row 1"),
        (RotationForm.ROT6D, (1, 0, 0, 0, 9, 0), "a column of norm 9 in row 1"),
        (RotationForm.ROT6D, (1, 0, 0, 1, 0.1, 0), "two columns that are not orthogonal in row 1"),
    ],
)
def test_numbers_that_are_no_rotation_fail_their_episode(
    form: RotationForm, values: Sequence[float], fault: str
) -> None:
    """Before, all but zeros became some rotation; the greatest became a matrix of zeros."""
    good = (1, 0, 0, 0, 1, 0) if form is RotationForm.ROT6D else (0, 0, 0, 1)
    table = {STATE: np.array([good, values], float)}
    with pytest.raises(EpisodeError, match=rf"^x: 'observation.state', declared as {form}, has {fault}"):
        take_rotation(Rotation(STATE, 0, form, unit_rad=1.0), table, "x")


def test_parts_share_the_bytes_of_their_files(tmp_path: Path) -> None:
    source, raw = written(tmp_path / "raw", declaration())
    parts = source.parts(raw, SourceSettings())
    files = [*(tmp_path / "raw/data").rglob("*.parquet"), *(tmp_path / "raw/videos").rglob("*.mp4")]

    assert [(part.id, part.num_episodes) for part in parts] == [
        ("data/chunk-000/file-000.parquet#000000-000001", 2),
        ("data/chunk-000/file-001.parquet#000002-000002", 1),
    ]
    total = sum(file.stat().st_size for file in files)
    assert total - 10 < sum(part.num_bytes for part in parts) <= total
