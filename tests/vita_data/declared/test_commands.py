"""Shards of declared RLDS and HDF5 data give the raw commands back; those that another declaration built do not."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from tests.vita_data.declared.test_lerobot import MOTIONS, arm, shifted
from tests.vita_data.declared.test_other_formats import HDF5, RLDS, of_steps, outcomes, written
from vita_data.cli.main import main
from vita_data.declared import ArmColumns, Frame, Hdf5Source, JointAction, Motion, RldsSource, RotationForm
from vita_data.errors import EpisodeError, SourceError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.normalize import FrameSelection, normalize
from vita_data.replay import TOLERANCE, compare_commands, find_built
from vita_data.types import Clip, CommandReader, Drop, Episode, SourceSettings
from vita_model.sims.cli.main import main as evaluate

PAGE = Path(__file__).parents[3] / "vita_data" / "sources" / "README.md"


def rlds(right: ArmColumns, rows_to_action: int) -> RldsSource:
    return RldsSource(replace(RLDS, cameras=(), right=of_steps(right), rows_to_action=rows_to_action))


def hdf5(right: ArmColumns, rows_to_action: int) -> Hdf5Source:
    return Hdf5Source(replace(HDF5, cameras=(), right=right, rows_to_action=rows_to_action))


def clips(source: RldsSource | Hdf5Source, raw: FsspecTree) -> list[Clip]:
    found: list[Clip] = []
    for episode, _ in outcomes(source, raw):
        assert isinstance(episode, Episode)
        made = normalize(episode, source.INFO, SourceSettings(), FrameSelection.KEYFRAMES)
        assert not isinstance(made, Drop)
        found += made
    return found


def worst(read: CommandReader, found: list[Clip]) -> dict[str, float]:
    errors = [(pair.name, float(pair.errors.max())) for clip in found for pair in read(clip)]
    return {name: max(error for other, error in errors if other == name) for name, _ in errors}


@pytest.mark.parametrize("rows_to_action", [0, 1])
@pytest.mark.parametrize("make", [rlds, hdf5])
@pytest.mark.parametrize(("motion", "frame", "form"), MOTIONS)
def test_every_declared_form_gives_its_commands_back(
    tmp_path: Path,
    make: Callable[[ArmColumns, int], RldsSource | Hdf5Source],
    motion: Motion,
    frame: Frame,
    form: RotationForm,
    rows_to_action: int,
) -> None:
    source = make(arm(motion, frame, form), rows_to_action)
    raw = written(source, tmp_path / "raw")
    read, found = source.command_reader(raw, source.Settings()), clips(source, raw)

    assert len(found) == 3
    errors = worst(read, found)
    assert len(errors) == 3
    assert max(errors.values()) <= TOLERANCE, errors
    assert min(worst(read, list(map(shifted, found))).values()) > TOLERANCE
    with pytest.raises(EpisodeError, match="expected a row"):
        read(replace(found[0], step_index=found[0].step_index + 10))


def test_two_arms_of_joints_give_their_commands_back(tmp_path: Path) -> None:
    measured = arm(Motion.ABSOLUTE, Frame.BASE, RotationForm.AXIS_ANGLE).joints
    assert measured is not None
    both = [
        ArmColumns(
            position=None, rotation=None, gripper=None, joints=replace(measured, start=start),
            action=JointAction(motion=motion, joints=replace(measured, key="action", start=start), gripper=None),
        )
        for start, motion in ((0, Motion.DELTA), (6, Motion.ABSOLUTE))
    ]  # fmt: skip
    source = Hdf5Source(replace(HDF5, cameras=(), left=both[0], right=both[1]))
    raw = written(source, tmp_path / "raw")

    errors = worst(source.command_reader(raw, source.Settings()), clips(source, raw))
    assert set(errors) == {"left joints (rad)", "right joints (rad)"}
    assert max(errors.values()) <= TOLERANCE


@pytest.mark.parametrize("make", [rlds, hdf5])
def test_another_download_is_named(tmp_path: Path, make: Callable[[ArmColumns, int], RldsSource | Hdf5Source]) -> None:
    source = make(arm(Motion.DELTA, Frame.BASE, RotationForm.AXIS_ANGLE), 0)
    raw = written(source, tmp_path / "raw")
    found = clips(source, raw)
    for path in (tmp_path / "raw").rglob("*"):
        if path.suffix == ".hdf5":
            with h5py.File(path, "r+") as file:
                del file["data/demo_0"]
        elif ".tfrecord" in path.name:
            path.write_bytes(b"")

    with pytest.raises((EpisodeError, SourceError), match=re.escape(str(found[0].provenance["file"]))):
        source.command_reader(raw, source.Settings())(found[0])


def file_of(folder: Path, number: int, *changes: tuple[str, str]) -> Path:
    """Write an example of the sources' README to a file, changed."""
    text = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    folder.mkdir()
    path = folder / "declared.py"
    path.write_text(text, encoding="utf-8")
    return path


GRIPPER, MOTION = "right gripper (1 opens)", ("right position (m)", "right rotation (matrix)")
LATE = ("rows_to_action=0", "rows_to_action=1")


@pytest.mark.parametrize(
    ("number", "name", "sign"),
    [
        (2, "my_rlds", ("open=0.0, closed=1.0", "open=1.0, closed=0.0")),
        (3, "my_demos", ("open=-1.0, closed=1.0", "open=1.0, closed=-1.0")),
    ],
)
def test_shards_of_a_wrong_sign_or_row_are_found_by_the_corrected_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, name: str, sign: tuple[str, str]
) -> None:
    true = file_of(tmp_path / "true", number)
    assert main(["toy", "--source-file", str(true), "--raw", str(tmp_path)]) == 0
    raw = str(tmp_path / name)
    wrong = {"none": None, "sign": sign, "row": LATE}
    for planted, change in wrong.items():
        file = true if change is None else file_of(tmp_path / planted, number, change)
        out = tmp_path / f"built_{planted}"
        assert main(["build", "--source-file", str(file), "--raw", raw, "--out", str(out), "--quiet"]) == 0
        asked = ["--source-file", str(true), "--raw", raw, "--shards", str(out / name), "--quiet"]
        assert evaluate(["replay", *asked]) == (0 if change is None else 1)
        told = capsys.readouterr().err
        (built,) = find_built(out / name, raw)
        report = compare_commands(built, source_file=str(true))
        off = {quantity for quantity, row in report.worst.items() if row.error > TOLERANCE}
        assert off == {"none": set(), "sign": {GRIPPER}, "row": {GRIPPER, *MOTION}}[planted]
        assert (f"{name}: {GRIPPER} differs by 1.0e+00" in told) == bool(off)
