"""CALVIN: a camera that a window's frames do not have is absent, whichever copy of the data left it out."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources.calvin import source as calvin
from vita_data.types import CameraRole, Episode

FOLDER = "task_ABC_D/validation"


@pytest.fixture
def root(toy_raw: Path, tmp_path: Path) -> Path:
    shutil.copytree(toy_raw / "calvin" / FOLDER, tmp_path / FOLDER)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "left"),
    [("rgb_gripper", {CameraRole.PRIMARY}), ("rgb_static", {CameraRole.WRIST_RIGHT})],
)
def test_a_camera_that_the_frames_lack_is_absent(root: Path, key: str, left: set[CameraRole]) -> None:
    for path in (root / FOLDER).glob("episode_*.npz"):
        with np.load(path) as stored:
            np.savez(path, **{name: stored[name] for name in stored.files if name != key})  # type: ignore[arg-type]
    raw, settings = FsspecTree(str(root)), calvin.Settings(depth=True)
    (part,) = calvin.parts(raw, settings)
    (found,) = calvin.episodes(raw, part, settings)

    assert isinstance(found, Episode)
    assert set(found.cameras) == set(found.depths) == left
