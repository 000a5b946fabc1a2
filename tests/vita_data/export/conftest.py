"""Toy sources that are built with every frame, which a LeRobot dataset needs."""

from pathlib import Path

import pytest

from tests.conftest import made_once
from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.normalize import FrameSelection
from vita_data.sources import bridge

NAMES = ("bridge", "libero", "robomind_agilex")


@pytest.fixture(scope="session")
def every_row(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three toy sources with an image for each row; tests must not change them."""

    def make(root: Path) -> None:
        for name in NAMES:
            settings = sources.load(name).Settings()
            raw = str(toy_raw / name)
            build(BuildRequest(source=name, raw=raw, out=root, settings=settings, frames=FrameSelection.ALL))

    return made_once(tmp_path_factory, "every_row", make)


@pytest.fixture(scope="session")
def real_bridge(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real episodes of Bridge, of eight rows each, with an image for each row."""

    def make(root: Path) -> None:
        settings = bridge.Settings(min_frames=2)
        raw = str(real_data / "bridge_rlds")
        build(BuildRequest(source="bridge", raw=raw, out=root, settings=settings, frames=FrameSelection.ALL))

    return made_once(tmp_path_factory, "real_bridge", make) / "bridge"
