"""RLDS releases and HDF5 files are read as declared; one that does not fit is refused in words."""

from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.vita_data.declared.test_lerobot import arm
from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    Hdf5Declaration,
    Hdf5Source,
    Motion,
    PoseAction,
    Position,
    RldsDeclaration,
    RldsSource,
    Rotation,
    RotationForm,
)
from vita_data.declared.declaration import Columns
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame, toy_arm
from vita_data.geometry import rotation_delta
from vita_data.normalize.images import rgb_pixels
from vita_data.sources import load
from vita_data.types import (
    ActionOrigin,
    Arm,
    CameraRole,
    Episode,
    Failure,
    Outcome,
    PoseDelta,
    PoseTarget,
    ResizeMode,
    Source,
    TextStyle,
)

COMMON = {
    "title": "My arm",
    "embodiment": "ur5e",
    "hz": 10.0,
    "left": None,
    "action_origin": ActionOrigin.COMMANDED,
    "rows_to_action": 0,
    "lag": 0,
    "text_style": TextStyle.IMPERATIVE,
    "text_origin": "human",
    "licence": "ours",
    "redistributable": False,
    "url": "https://example.org",
    "access": "in house",
}
STATE, ACTION = "steps/observation/state", "steps/action"


def of_steps(declared: ArmColumns) -> ArmColumns:
    """Take the columns from keys of an RLDS record."""

    def moved(part: ArmColumns | PoseAction) -> dict[str, Columns]:
        found = {one.name: getattr(part, one.name) for one in fields(part)}
        keys = {"observation.state": STATE, "action": ACTION}
        return {name: replace(one, key=keys[one.key]) for name, one in found.items() if isinstance(one, Columns)}

    return replace(declared, **moved(declared), action=replace(declared.action, **moved(declared.action)))  # type: ignore[arg-type]


RLDS = RldsDeclaration(
    name="my_rlds",
    datasets=("my_set",),
    columns={STATE: 20, ACTION: 12},
    cameras=(
        Camera(role=CameraRole.PRIMARY, key="steps/observation/image", turned=Flip.NONE),
        Camera(role=CameraRole.WRIST_RIGHT, key="steps/observation/wrist", turned=Flip.ROT180),
    ),
    right=of_steps(arm(Motion.ABSOLUTE, Frame.BASE, RotationForm.AXIS_ANGLE)),
    text_column="steps/language_instruction",
    **COMMON,  # type: ignore[arg-type]
)
HDF5 = Hdf5Declaration(
    name="my_demos",
    files="*/*.hdf5",
    columns={"observation.state": 20, "action": 12},
    cameras=(Camera(role=CameraRole.PRIMARY, key="obs/image", turned=Flip.VFLIP),),
    right=arm(Motion.DELTA, Frame.HAND, RotationForm.AXIS_ANGLE),
    text_attribute="task",
    **COMMON,  # type: ignore[arg-type]
)


def written(source: Source, root: Path) -> FsspecTree:
    root.mkdir()
    source.write_toy(str(root))
    return FsspecTree(str(root))


def outcomes(source: Source, raw: FsspecTree) -> list[tuple[Outcome, int]]:
    """Read all episodes, with the step that the image of row 7 shows; an episode's images are read before the next."""
    settings, found = source.Settings(), []
    for part in source.parts(raw, settings):
        for one in source.episodes(raw, part, settings):
            shown = -1
            if isinstance(one, Episode):
                for camera in one.cameras.values():
                    (frame,) = camera.read([7], ResizeMode.PLAIN)
                    mark = read_toy_frame(rgb_pixels(frame))
                    assert mark.upright
                    shown = mark.step
            found.append((one, shown))
    return found


@pytest.mark.parametrize("source", [RldsSource(RLDS), Hdf5Source(HDF5)], ids=["rlds", "hdf5"])
def test_what_is_written_as_declared_reads_back(tmp_path: Path, source: Source) -> None:
    found = outcomes(source, written(source, tmp_path / "raw"))
    first, shown = next(pair for pair in found if isinstance(pair[0], Episode) and len(pair[0].step_index) == 30)
    assert isinstance(first, Episode)
    right, made, rows = first.right, toy_arm(31, hz=10.0, seed=1), slice(0, 30)
    assert isinstance(right, Arm)
    assert right.action is not None

    assert (len(found), len(first.step_index), shown) == (3, 30, 7)
    assert first.instructions[0].text == "put the cup on the shelf"
    assert right.xyz_m == pytest.approx(made.xyz_m[rows], abs=1e-6)
    assert right.rotation == pytest.approx(made.rotation[rows], abs=1e-5)
    assert right.action.gripper_open == pytest.approx(made.gripper_open[1:], abs=1e-6)
    moved = right.action.motion
    if isinstance(moved, PoseTarget):
        assert moved.rotation == pytest.approx(made.rotation[1:], abs=1e-5)
        assert moved.xyz_m == pytest.approx(made.xyz_m[1:], abs=1e-6)
    else:
        assert moved.rotation == pytest.approx(rotation_delta(made.rotation[:-1], made.rotation[1:]), abs=1e-5)
        assert moved.xyz_m == pytest.approx(np.diff(made.xyz_m, axis=0), abs=1e-6)


def test_releases_and_files_that_are_not_as_declared_are_refused_before_they_are_read(tmp_path: Path) -> None:
    raw = written(RldsSource(RLDS), tmp_path / "rlds")
    for change, told in (
        ({"columns": {STATE: 20, ACTION: 13}}, r"action is tensor float32 \[12\], expected 13 floats"),
        ({"text_column": "steps/text"}, "steps/text"),
        ({"datasets": ("other",)}, "with name other; found my_set/1.0.0"),
    ):
        source = RldsSource(replace(RLDS, **change))  # type: ignore[arg-type]
        with pytest.raises(RequestError, match=told):
            source.parts(raw, source.Settings())
    with pytest.raises(RequestError, match=r"found no \*/\*\.hdf5"):
        Hdf5Source(HDF5).parts(raw, Hdf5Source(HDF5).Settings())


def test_a_demonstration_that_is_not_as_declared_fails_alone(tmp_path: Path) -> None:
    source = Hdf5Source(HDF5)
    raw = written(source, tmp_path / "raw")
    path = next(path for path in sorted((tmp_path / "raw").glob("*/*.hdf5")) if len(h5py.File(path)["data"]) == 2)
    with h5py.File(path, "r+") as file:
        group = file["data/demo_0"]
        action = group["action"][:-1]
        del group["action"]
        group["action"] = action
    found = [one for one, _ in outcomes(source, raw)]
    (failed,) = [one for one in found if isinstance(one, Failure)]

    assert len(found) == 3
    assert "differ in rows (observation.state 30, action 29, obs/image 30)" in failed.detail


def test_a_file_name_is_a_text_and_a_missing_attribute_an_empty_one(tmp_path: Path) -> None:
    raw = written(Hdf5Source(HDF5), tmp_path / "raw")
    for declared, text in ((replace(HDF5, text_attribute=None), "push the red block to the left"),
                           (replace(HDF5, text_attribute="other"), "")):  # fmt: skip
        texts = {one.instructions[0].text for one, _ in outcomes(Hdf5Source(declared), raw) if isinstance(one, Episode)}
        assert text in texts


def test_real_bridge_read_by_a_declaration_is_what_its_source_reads(real_data: Path) -> None:
    state, action = STATE, ACTION
    source = RldsSource(
        replace(
            RLDS,
            datasets=("bridge_dataset",),
            columns={state: 7, action: 7, "steps/is_first": 1},
            cameras=(Camera(role=CameraRole.PRIMARY, key="steps/observation/image_0", turned=Flip.NONE),),
            right=ArmColumns(
                position=Position(state, 0, unit_m=1.0),
                rotation=Rotation(state, 3, RotationForm.EULER_XYZ, unit_rad=1.0),
                gripper=Gripper(state, 6, open=1.0, closed=0.0),
                joints=None,
                action=PoseAction(
                    motion=Motion.DELTA,
                    frame=Frame.BASE,
                    position=Position(action, 0, unit_m=1.0),
                    rotation=Rotation(action, 3, RotationForm.EULER_XYZ, unit_rad=1.0),
                    gripper=Gripper(action, 6, open=1.0, closed=0.0),
                ),
            ),
        )
    )
    raw, bridge = FsspecTree(str(real_data / "bridge_rlds")), load("bridge")
    settings, own = source.Settings(), bridge.Settings()
    parts = source.parts(raw, settings)
    assert parts == bridge.parts(raw, own)
    pairs = [
        (declared, known)
        for part in parts
        for declared, known in zip(source.episodes(raw, part, settings), bridge.episodes(raw, part, own), strict=True)
    ]
    assert len(pairs) == 50
    for declared, known in pairs:
        assert isinstance(declared, Episode)
        assert isinstance(known, Episode)
        assert declared.right is not None
        assert known.right is not None
        assert (declared.id, declared.split) == (known.id, known.split)
        assert declared.instructions[0].text == known.instructions[0].text
        assert declared.right.xyz_m is not None
        assert np.array_equal(declared.right.xyz_m[1:-1], known.right.xyz_m)
        assert declared.right.action is not None
        assert isinstance(declared.right.action.motion, PoseDelta)


def test_keys_that_are_not_of_the_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="'observation/state': expected a key of the steps"):
        replace(RLDS, columns={**RLDS.columns, "observation/state": 7})
