"""A raw tree of many parts, and what an undisturbed build makes of it."""

from pathlib import Path

import pytest

from tests.vita_data.builder.made import many_parts, request
from vita_data.builder import build


@pytest.fixture(scope="session")
def raw(toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_parts(toy_raw / "libero", tmp_path_factory.mktemp("many") / "libero", num_copies=4)


@pytest.fixture(scope="session")
def undisturbed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    build(request("libero", raw, out))
    return out
