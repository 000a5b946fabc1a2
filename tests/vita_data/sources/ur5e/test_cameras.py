"""UR-5e in HDF5 form: which cameras a recording has, and that depth which nobody asked for costs nothing."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources.ur5e import source as ur5e
from vita_data.types import CameraRole, Episode, Failure, Outcome

FILE = "01/scene_000/000.hdf5"
NUM_ROWS = 36


@pytest.fixture
def root(toy_raw: Path, tmp_path: Path) -> Path:
    (tmp_path / "01").mkdir()
    shutil.copytree(toy_raw / "ur5e/01/scene_000", tmp_path / "01/scene_000")
    return tmp_path


def read(root: Path, settings: ur5e.Settings) -> Outcome:
    raw = FsspecTree(str(root))
    part = next(part for part in ur5e.parts(raw, settings) if part.id == FILE)
    (found,) = ur5e.episodes(raw, part, settings)
    return found


@pytest.mark.parametrize(
    "entries", [[], [b""] * NUM_ROWS, [b"no image"] * NUM_ROWS], ids=["no rows", "empty", "no image"]
)
def test_a_camera_without_any_image_is_absent(root: Path, entries: list[bytes]) -> None:
    with h5py.File(root / FILE, "r+") as opened:
        del opened["images/wrist"]
        stored = opened.create_dataset("images/wrist", (len(entries),), h5py.vlen_dtype(np.uint8))
        for row, entry in enumerate(entries):
            stored[row] = np.frombuffer(entry, np.uint8)
    found = read(root, ur5e.Settings())

    assert isinstance(found, Episode)
    assert list(found.cameras) == [CameraRole.PRIMARY]


def test_depth_that_nobody_asked_for_is_not_looked_at(root: Path) -> None:
    with h5py.File(root / FILE, "r+") as opened:
        del opened["depth/wrist"]
        opened["depth/wrist"] = np.zeros((NUM_ROWS, 48, 64), np.uint16)
    without, asked = read(root, ur5e.Settings()), read(root, ur5e.Settings(depth=True))

    assert isinstance(without, Episode)
    assert isinstance(asked, Failure)
    assert "expected float32" in asked.detail
