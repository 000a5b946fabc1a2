"""Shared fixtures: toy raw trees, built toy sources, and the folder of real samples.

Test processes share the trees: the first one makes them, the others wait and read.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from vita_data import sources
from vita_data.builder import BuildRequest, build


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Let the first of several test processes make a folder; it stands under its name only when whole."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not folder.exists():
            unfinished = root / f"{name}.unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def toy_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy raw trees of every source, one folder each; tests must not change them."""

    def make(root: Path) -> None:
        for name in sources.names():
            (root / name).mkdir()
            sources.load(name).write_toy(str(root / name))

    return made_once(tmp_path_factory, "toy_raw", make)


@pytest.fixture(scope="session")
def toy_shards(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every source's toy tree, built with the default settings; tests must not change them."""

    def make(root: Path) -> None:
        for name in sources.names():
            build(BuildRequest(source=name, raw=str(toy_raw / name), out=root, settings=sources.load(name).Settings()))

    return made_once(tmp_path_factory, "toy_shards", make)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; tests that need it are skipped where it is not given."""
    folder = os.environ.get("VITA_REAL_DATA")
    if not folder:
        pytest.skip("VITA_REAL_DATA is not set")
    return Path(folder)
