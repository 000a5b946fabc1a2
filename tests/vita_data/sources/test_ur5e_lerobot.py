"""UR-5e in LeRobot form: a dataset of which no recording can be read is refused once, before any is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vita_data.errors import RequestError
from vita_data.formats.tree import FsspecTree
from vita_data.sources import ur5e


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ur5e_lerobot")
    ur5e._write_toy_lerobot(str(root))
    return root


@pytest.fixture
def lerobot_root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


IMAGES = "observation.images."


def edit_info(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def rename_cameras(info: dict[str, Any]) -> None:
    features = info["features"]
    info["features"] = {key.replace("third_person", "cam_high"): value for key, value in features.items()}


def as_images(info: dict[str, Any]) -> None:
    for key in ("third_person", "wrist"):
        info["features"][IMAGES + key]["dtype"] = "image"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rename_cameras, "no camera 'observation.images.third_person'.*Found: .*cam_high .video 240x320x3., .*wrist"),
        (
            as_images,
            "images inside the table .*third_person, .*wrist.*, expected videos; .*=True. Found: .*image 240x320x3",
        ),
        (
            lambda info: info["features"][f"{IMAGES}wrist"].update(dtype="image"),
            r"images inside the table \(observation.images.wrist\)",
        ),
        (lambda info: info["features"].pop("action"), "no feature 'action', expected 7 values a row. Found: .*state"),
        (lambda info: info["features"]["observation.state"].update(shape=[14]), r"has shape \[14\], expected \[13\]"),
        (lambda info: info.update(fps=10), "fps is 10, expected 30; if it is true, --set hz=10"),
        (lambda info: info.pop("action_space"), "none of 2 recordings can be read: .*action_space is None; set it to"),
        (lambda info: info.update(codebase_version="v3.0"), "format v3.0; v2.0 and v2.1 are read"),
    ],
)
def test_a_lerobot_dataset_that_cannot_be_read_at_all_is_refused_once(
    lerobot_root: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    edit_info(lerobot_root, change)
    with pytest.raises(RequestError, match=told) as caught:
        ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings())
    assert "\n" not in str(caught.value)
    assert "meta/info.json" in str(caught.value)


def test_a_lerobot_dataset_without_a_wrist_camera_or_of_a_stated_rate_is_read(lerobot_root: Path) -> None:
    edit_info(lerobot_root, lambda info: info["features"].pop(f"{IMAGES}wrist"))
    edit_info(lerobot_root, lambda info: info.update(fps=10))
    assert len(ur5e.parts(FsspecTree(str(lerobot_root)), ur5e.Settings(hz=10.0))) == 2
