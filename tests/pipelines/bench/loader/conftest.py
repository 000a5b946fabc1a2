"""Clips as `--quick` generates them, made once."""

from functools import partial

import pytest

from pipelines.bench.build.workload import Workload, prepare
from pipelines.bench.loader.clips import write_clips
from pipelines.bench.loader.pairs import Pairs, open_pairs
from pipelines.bench.loader.sizes import QUICK


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    base = tmp_path_factory.mktemp("clips")
    return prepare(base, "loader-clips", QUICK.clips, partial(write_clips, spec=QUICK.clips))


@pytest.fixture(scope="session")
def pairs(clips: Workload) -> Pairs:
    return open_pairs(clips.raw / "pairs")
