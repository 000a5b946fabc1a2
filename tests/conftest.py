"""Shared fixtures: toy raw trees, built toy sources, and the folder of real samples."""

import os
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.build import BuildRequest, build


@pytest.fixture(scope="session")
def toy_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy raw trees of every source, one folder each."""
    root = tmp_path_factory.mktemp("raw")
    for name in sources.names():
        (root / name).mkdir()
        sources.load(name).write_toy(str(root / name))
    return root


@pytest.fixture(scope="session")
def toy_shards(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every source's toy tree, built with the default settings."""
    out = tmp_path_factory.mktemp("shards")
    for name in sources.names():
        build(BuildRequest(source=name, raw=str(toy_raw / name), out=out, settings=sources.load(name).Settings()))
    return out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; tests that need it are skipped where it is not given."""
    folder = os.environ.get("VITA_REAL_DATA")
    if not folder:
        pytest.skip("VITA_REAL_DATA is not set")
    return Path(folder)
