"""Limits do the same work as ours: the same kernels, the same sums."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.bench.build.bare_files import copy_records
from pipelines.bench.build.bare_video import decode, decode_targets, scaled
from pipelines.bench.build.sizes import QUICK
from pipelines.bench.build.videos import clip_specs, write_video
from vita_data.formats.rlds.tfrecord import write_records


def test_small_pictures_are_enlarged_by_the_kernel_of_a_build(tmp_path: Path) -> None:
    path = str(tmp_path / "a.webm")
    write_video(Path(path), replace(clip_specs(QUICK)[0], num_frames=4))

    limit, ours = list(scaled(decode(path))), list(decode_targets(path, range(4)))

    assert len(limit) == 4
    np.testing.assert_array_equal(limit, ours)


def test_records_are_copied_and_their_sums_checked(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tfrecord", tmp_path / "out"
    write_records(path, [b"first", b"second"])

    assert copy_records([path, path], out) == 4
    assert out.read_bytes() == b"firstsecond" * 2

    path.write_bytes(path.read_bytes().replace(b"second", b"sEcond"))
    with pytest.raises(ValueError, match="record 1 is damaged"):
        copy_records([path], out)
