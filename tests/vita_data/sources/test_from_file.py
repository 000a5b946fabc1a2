"""A source in a file of the user's own goes through every verb; a file that defines none is refused in one line."""

import json
from pathlib import Path

import pytest

from vita_data.builder import BuildRequest, build
from vita_data.builder.engines import LocalEngine
from vita_data.cli.main import main
from vita_data.errors import RequestError
from vita_data.sources import load, load_own
from vita_data.types import SourceSettings

MY_ARM = '''
from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns, Camera, Frame, Gripper, LeRobotDeclaration, LeRobotSource, Motion, PoseAction, Position, Rotation,
    RotationForm,
)
from vita_data.types import ActionOrigin, CameraRole, TextStyle

STATE, ACTION, ANGLES = "observation.state", "action", RotationForm.AXIS_ANGLE
SOURCE = LeRobotSource(LeRobotDeclaration(
    name="my_arm", title="My arm", embodiment="ur5e", hz=10.0, labelled_fps=10.0, columns={STATE: 7, ACTION: 7},
    cameras=(Camera(role=CameraRole.PRIMARY, key="observation.images.front", turned=Flip.NONE),),
    right=ArmColumns(
        position=Position(STATE, 0, unit_m=1.0), rotation=Rotation(STATE, 3, ANGLES, unit_rad=1.0),
        gripper=Gripper(STATE, 6, open=0.085, closed=0.0), joints=None,
        action=PoseAction(
            motion=Motion.DELTA, frame=Frame.BASE, position=Position(ACTION, 0, unit_m=1.0),
            rotation=Rotation(ACTION, 3, ANGLES, unit_rad=1.0), gripper=Gripper(ACTION, 6, open=-1.0, closed=1.0),
        ),
    ),
    left=None, action_origin=ActionOrigin.COMMANDED, rows_to_action=0, lag=0, text_style=TextStyle.IMPERATIVE,
    text_origin="human", text_column=None, licence="ours", redistributable=False, url="https://example.org",
    access="in house",
))
'''  # fmt: skip
OWN_SETTINGS = (
    MY_ARM
    + """
from dataclasses import dataclass
from vita_data.types import SourceSettings

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    shout: bool = False

INFO, parts, write_toy, _made = SOURCE.INFO, SOURCE.parts, SOURCE.write_toy, SOURCE
del SOURCE

def episodes(raw, part, settings):
    assert settings.shout and isinstance(settings, Settings)
    return _made.episodes(raw, part, settings)
"""
)


def file_of(folder: Path, text: str = MY_ARM) -> Path:
    path = folder / "my_arm.py"
    path.write_text(text)
    return path


def test_every_verb_takes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, raw, out = file_of(tmp_path), tmp_path / "raw", tmp_path / "out"
    asked = ["--source-file", str(file)]

    assert main(["sources", *asked]) == 0
    assert "My arm" in capsys.readouterr().out
    assert main(["toy", *asked, "--raw", str(raw)]) == 0
    assert main(["probe", *asked, "--raw", str(raw / "my_arm")]) == 0
    build_it = ["build", *asked, "--raw", str(raw / "my_arm"), "--out", str(out), "--workers", "2", "--json"]
    capsys.readouterr()
    assert main(build_it) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert (card["source"], card["outcomes"]) == ("my_arm", {"ok": 3})
    assert main(["verify", str(out / "my_arm")]) == 0
    view = ["view", str(out / "my_arm"), "--raw", str(raw / "my_arm"), "--html", str(tmp_path / "view")]
    assert main([*view, *asked]) == 0
    assert '"sources_with_raw":[0]' in (tmp_path / "view" / "data" / "meta.js").read_text()
    capsys.readouterr()
    assert main(view) == 2
    assert "to read the --raw of a source of your own, give its --source-file" in capsys.readouterr().err
    assert main(build_it) == 0
    file_of(tmp_path, MY_ARM.replace("open=-1.0, closed=1.0", "open=1.0, closed=-1.0"))
    assert main(build_it) == 2
    assert "was built with another content of --source-file" in capsys.readouterr().err


def test_settings_of_a_file_reach_the_workers(tmp_path: Path) -> None:
    file = file_of(tmp_path, OWN_SETTINGS)
    source = load_own(str(file))
    (tmp_path / "raw").mkdir()
    source.write_toy(str(tmp_path / "raw"))
    settings = source.Settings(shout=True)  # type: ignore[call-arg]
    request = BuildRequest(
        source="my_arm", source_file=str(file), raw=str(tmp_path / "raw"), out=tmp_path / "out", settings=settings
    )
    result = build(request, engine=LocalEngine(workers=2))

    assert result.card is not None
    assert result.card["outcomes"] == {"ok": 3}
    assert load("my_arm", str(file)).Settings is source.Settings
    assert issubclass(source.Settings, SourceSettings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (", r"line 1: SyntaxError: .*never closed"),
        ("\nimport absent_module", "line 2: ModuleNotFoundError: No module named 'absent_module'"),
        ("x = 1", "it defines neither SOURCE nor INFO, Settings, parts, episodes, write_toy"),
        ("SOURCE = 1", "SOURCE lacks INFO, Settings, parts, episodes, write_toy"),
        (MY_ARM.replace("ACTION: 7", "ACTION: 6"), r"line \d+: ValueError: 'action': values 6 to 6 of a column of 6"),
        (MY_ARM.replace('"my_arm"', '"bridge"'), "the name 'bridge' belongs to a source that comes with VITA"),
        (MY_ARM.replace("lag=0, ", ""), "line .*: TypeError: .*'lag'"),
    ],
)
def test_a_file_that_defines_no_source_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    file = file_of(tmp_path, text)
    with pytest.raises(RequestError, match=told) as caught:
        load_own(str(file))
    assert "\n" not in str(caught.value)
    assert main(["build", "--source-file", str(file), "--raw", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_file_another_name_and_two_sources_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match="the file does not exist"):
        load_own(str(tmp_path / "absent.py"))
    with pytest.raises(RequestError, match="expected source 'other', found 'my_arm'"):
        load("other", str(file_of(tmp_path)))
    assert main(["sources", "bridge", "--source-file", str(file_of(tmp_path))]) == 2
    capsys.readouterr()
