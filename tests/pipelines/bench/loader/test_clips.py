"""The shards and the neutral pairs hold the same bytes, and the same windows."""

import tarfile

import numpy as np

from pipelines.bench.build.workload import Workload
from pipelines.bench.loader.clips import SOURCE
from pipelines.bench.loader.pairs import ACTION_DIM, FUTURE_STEPS, HORIZON, Pairs
from pipelines.bench.loader.sizes import QUICK
from vita_data.loader import MixedModalitySampler, Plan
from vita_data.shards.verify import verify
from vita_data.types import Manifest, MixtureEntry, Starts, WindowSpec


def test_the_jpegs_are_those_of_the_shards(clips: Workload, pairs: Pairs) -> None:
    stored = []
    for shard in sorted((clips.raw / "shards" / SOURCE / "train").glob("*.tar")):
        with tarfile.open(shard) as tar:
            stored += [tar.extractfile(one).read() for one in tar if one.name.endswith(".jpg")]  # type: ignore[union-attr]

    assert b"".join(stored) == pairs.jpegs.tobytes()
    assert len(stored) == clips.num_frames == QUICK.clips.num_clips * QUICK.clips.num_steps


def test_frames_are_as_large_as_real_ones(pairs: Pairs) -> None:
    assert 18_000 < np.diff(pairs.offset).mean() < 24_000


def test_a_pair_is_a_frame_and_the_one_a_second_later(pairs: Pairs) -> None:
    steps = QUICK.clips.num_steps

    np.testing.assert_array_equal(pairs.future - pairs.first, FUTURE_STEPS)
    np.testing.assert_array_equal(pairs.first // steps, pairs.future // steps)
    assert pairs.action.shape == (len(pairs), HORIZON, ACTION_DIM)
    # the chunk of the next row is this one moved on by a row
    np.testing.assert_array_equal(pairs.action[0, 1:], pairs.action[1, :-1])


def test_our_windows_are_the_pairs(clips: Workload, pairs: Pairs) -> None:
    manifest = Manifest(name="m", entries=(MixtureEntry(source=SOURCE, weight=1.0),), path="m.toml")
    spec = WindowSpec(starts=Starts.ROWS, horizon=HORIZON, futures=1, min_futures=1)
    plan = Plan.from_manifest(
        manifest, shards=str(clips.raw / "shards"), stage="finetune", batch_size=len(pairs), windows=spec
    )

    windows = MixedModalitySampler(plan).batch(0).windows

    steps = QUICK.clips.num_steps
    assert sorted(int(one.key.split("-")[1], 16) * steps + one.step for one in windows) == sorted(pairs.first.tolist())


def test_the_shards_are_whole(clips: Workload) -> None:
    """Generated shards have no list of episodes, which is all that `verify` misses."""
    (missed,) = verify(clips.raw / "shards" / SOURCE).problems
    assert "has no sha256 of episodes.parquet" in missed
