"""`check_source` accepts a sound source of a user's own and names the promise that a broken one breaks."""

from pathlib import Path

import pytest

from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data.errors import RequestError
from vita_data.testing import check_source

SPOILT = (
    MY_ARM
    + """
from dataclasses import replace
from itertools import count
import numpy as np
from vita_data.types import Failure, ResizeMode, RgbFrame

_made, _calls = SOURCE, count()
INFO, Settings, parts, write_toy = _made.INFO, _made.Settings, _made.parts, _made.write_toy
del SOURCE

class Spoilt:
    def __init__(self, camera, change):
        self.camera, self.num_frames, self.change = camera, camera.num_frames, change

    def read(self, rows, resize):
        for frame in self.camera.read(rows, resize):
            yield RgbFrame(np.ascontiguousarray(self.change(frame.pixels)))

def cameras(episode, change):
    return replace(episode, cameras={role: Spoilt(one, change) for role, one in episode.cameras.items()})

def action(episode, **changes):
    arm = episode.right
    return replace(episode, right=replace(arm, action=replace(arm.action, **changes)))

def episodes(raw, part, settings):
    yield from map(spoil, _made.episodes(raw, part, settings))
"""
)


def spoilt(how: str) -> str:
    return f"{SPOILT}\ndef spoil(episode):\n    return {how}\n"


def test_a_sound_source_passes_by_name_and_by_file(tmp_path: Path) -> None:
    (tmp_path / "my_arm.py").write_text(MY_ARM)
    check_source(tmp_path / "my_arm.py")
    check_source(str(tmp_path / "my_arm.py"))
    check_source("kuka")
    with pytest.raises(RequestError, match="unknown source 'kukka'; did you mean 'kuka'"):
        check_source("kukka")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MY_ARM.replace('licence="ours"', 'licence=""'), "my_arm: INFO.licence is empty"),
        (spoilt("replace(episode, id='same')"), "episode id .'same'. is used more than once"),
        (spoilt("replace(episode, id=episode.id + str(next(_calls)))"), "other ids, or another order"),
        (spoilt("Failure(episode=episode.id, detail='odd')"), "toy episode .* failed: odd"),
        (spoilt("replace(episode, hz=9.0)"), "has 9 Hz, INFO says 10"),
        (
            spoilt("replace(episode, instructions=(replace(episode.instructions[0], text=''),))"),
            "0 toy episodes are stored, expected at least 2",
        ),
        (
            spoilt(
                "action(episode, motion=replace(episode.right.action.motion, xyz_m=-episode.right.action.motion.xyz_m))"
            ),
            "away from the recorded poses",
        ),
        (spoilt("cameras(episode, lambda pixels: pixels[::-1])"), "the image is turned"),
        (spoilt("cameras(episode, lambda pixels: pixels[..., ::-1])"), "not in the order red, green, blue"),
        (spoilt("replace(episode, step_index=episode.step_index + 1)"), "the image is that of step 0, expected step 1"),
        (
            spoilt("replace(episode, provenance={'file': str(next(_calls))})"),
            "a second build gives other bytes in ",
        ),
    ],
)
def test_a_broken_promise_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "my_arm.py").write_text(text)
    with pytest.raises(AssertionError, match=told) as caught:
        check_source(tmp_path / "my_arm.py")
    assert str(caught.value).startswith("my_arm: ")


def test_a_part_that_announces_another_number_of_episodes_is_named(tmp_path: Path) -> None:
    more = "\ndef parts(raw, settings):\n    found = _made.parts(raw, settings)\n"
    more += "    return [replace(part, num_episodes=7) for part in found]\n"
    (tmp_path / "my_arm.py").write_text(spoilt("episode") + more)
    with pytest.raises(AssertionError, match="announces 7 episodes and yields"):
        check_source(tmp_path / "my_arm.py")


def test_two_cameras_with_the_same_images_are_named(tmp_path: Path) -> None:
    two = (
        "SECOND = CameraRole.SECONDARY\n_made.INFO = INFO = replace(INFO, cameras={**INFO.cameras, SECOND: 'second'})\n"
    )
    how = "replace(episode, cameras={**episode.cameras, SECOND: episode.cameras[CameraRole.PRIMARY]})"
    (tmp_path / "my_arm.py").write_text(f"{spoilt(how)}{two}")
    with pytest.raises(AssertionError, match="two cameras have the same images"):
        check_source(tmp_path / "my_arm.py")
