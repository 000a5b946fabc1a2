"""Real Bridge episodes go through the whole build, and what comes out is what was recorded."""

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from vita_data.builder import BuildRequest, build
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import list_parts, open_dataset, read_shard
from vita_data.geometry import integrate_deltas, matrix_from_euler_xyz
from vita_data.shards import hf_features
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.shards.verify import verify
from vita_data.sources import load
from vita_data.types import Clip, Split


@pytest.fixture(scope="module")
def built(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    settings = load("bridge").Settings(min_frames=8)
    build(BuildRequest(source="bridge", raw=str(real_data / "bridge_rlds"), out=out, settings=settings))
    return out / "bridge"


def clips(folder: Path) -> dict[str, Clip]:
    files, found = ShardFiles(), {}
    for split in Split:
        index = open_source(folder, split)
        for shard, table in zip(index.shards, index.tables, strict=True):
            for row in table.to_pylist():
                clip = read_clip(files, shard, row)
                found[clip.episode] = clip
    files.close()
    return found


def test_canonical_actions_integrate_back_to_the_recorded_poses(built: Path, real_data: Path) -> None:
    """Recorded: state rows 1..T-1 as xyz and extrinsic Euler angles; ours: state row 1 and composed deltas."""
    raw = FsspecTree(str(real_data / "bridge_rlds"))
    dataset = open_dataset(raw, "bridge_dataset/1.0.0")
    found, num_checked = clips(built), 0
    for part in list_parts(raw, dataset):
        for record in read_shard(raw, dataset, part.id):
            recorded = record.floats("steps/observation/state")
            clip = next(
                clip
                for clip in found.values()
                if clip.provenance["file"] == part.id and clip.provenance["record"] == record.index
            )
            assert clip.action is not None
            turns = matrix_from_euler_xyz(recorded[:, 3:6])
            deltas = clip.action.track.values[:, 16:22].astype(np.float64)
            xyz, rotation = integrate_deltas(recorded[1, :3], turns[1], deltas)

            np.testing.assert_allclose(xyz, recorded[1:, :3], atol=1e-6)
            np.testing.assert_allclose(rotation, turns[1:], atol=1e-5)
            raw_gripper, opening = record.floats("steps/action")[1:-1, 6], clip.action.track.values[:, 22]
            assert np.all(opening[raw_gripper > 0.95] == 1)
            assert np.all(opening[raw_gripper < 0.05] == 0)
            num_checked += 1

    assert num_checked == len(found) == 50


def test_tar_webdataset_and_datasets_read_the_shards(built: Path, tmp_path: Path) -> None:
    import datasets
    import webdataset

    shard = min((built / "train").glob("*.tar"))
    listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) == 125
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode("rgb8"))
        table = datasets.load_dataset(
            "webdataset",
            data_files={"train": [str(shard)]},
            split="train",
            features=hf_features(built),
            cache_dir=str(tmp_path),
        )
        assert [sample["__key__"] for sample in samples] == table["__key__"][:]
        assert samples[0]["clip.json"] == table[0]["clip.json"]
        np.testing.assert_array_equal(samples[0]["action.npy"], np.asarray(table[0]["action.npy"], np.float32))


def test_verify_accepts_them_and_refuses_after_one_flipped_bit(built: Path) -> None:
    assert verify(built).problems == ()
    shard = min((built / "val").glob("*.tar"))
    good = shard.read_bytes()
    shard.write_bytes(good[:70000] + bytes([good[70000] ^ 16]) + good[70001:])
    problems = verify(built).problems
    shard.write_bytes(good)

    assert problems
    assert shard.name in problems[0]


def test_all_are_dropped_as_short_with_the_default_minimum(real_data: Path, tmp_path: Path) -> None:
    result = build(
        BuildRequest(
            source="bridge", raw=str(real_data / "bridge_rlds"), out=tmp_path, settings=load("bridge").Settings()
        )
    )

    assert result.card["drops"] == {"short": 50}
