"""Two toy sources, built: bridge has drops, libero suites and tasks."""

from pathlib import Path

import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("shards")
    for name in ("bridge", "libero"):
        (raw / name).mkdir()
        sources.load(name).write_toy(str(raw / name))
        build(BuildRequest(source=name, raw=str(raw / name), out=out, settings=sources.load(name).Settings()))
    return out
