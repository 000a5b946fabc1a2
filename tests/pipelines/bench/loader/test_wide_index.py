"""The index without data is one that our loader opens, with the clips and windows it says."""

from pathlib import Path

import pytest

from pipelines.bench.loader.open_index import measure_index, private_mb
from pipelines.bench.loader.sizes import QUICK
from pipelines.bench.loader.wide_index import SOURCE, write_wide_index
from vita_data.shards.index import open_source
from vita_data.types import CameraRole, Split

_SPEC = QUICK.index
_ROWS = (_SPEC.frames_per_clip - 1) * 5 + 1


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("wide")
    assert write_wide_index(raw, _SPEC) == _SPEC.num_frames
    return raw


def test_it_lists_what_it_says(shards: Path) -> None:
    table = open_source(shards / SOURCE, Split.TRAIN).table

    assert table.num_rows == _SPEC.num_clips
    assert len(set(table.column("key").to_pylist())) == _SPEC.num_clips
    frames = table.column("frames").to_pylist()
    assert sum(len(clip) for clip in frames) == _SPEC.num_frames
    assert {frame["camera"] for clip in frames for frame in clip} == {str(CameraRole.PRIMARY)}


def test_members_follow_each_other(shards: Path) -> None:
    table = open_source(shards / SOURCE, Split.TRAIN).tables[0]
    end = 0
    for row in table.to_pylist():
        for member in (row["action"], row["clip"], *row["frames"], row["state"]):
            assert member["offset"] == end + 512
            end = member["offset"] + member["size"]


def test_it_is_planned_on(shards: Path) -> None:
    figures = measure_index(shards, batch_size=8, num_steps=3)

    # warm-up: a window a frame but the last, and one a row
    assert figures.num_windows == _SPEC.num_clips * (_SPEC.frames_per_clip - 1 + _ROWS)
    assert 0 < figures.plan_ms <= figures.worst_plan_ms
    assert figures.open_s > 0


def test_private_memory_grows_with_what_is_held() -> None:
    before_mb = private_mb()
    held = bytearray(b"x" * 50_000_000)

    assert private_mb() - before_mb > 40
    assert len(held) == 50_000_000
