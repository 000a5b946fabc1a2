"""Flipped bits in built shards: no batch changes, each is an error that names the shard, or nothing reads the bit."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.vita_data.loader.test_damage import flip
from vita_data.errors import VitaDataError
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.manifest import load_manifest
from vita_data.shards.verify import verify
from vita_data.types import Batch

MANIFEST = Path(__file__).parents[2] / "manifests" / "toy_finetune.toml"
NUM_FLIPS = 1000
NUM_BATCHES = 4


def batches(shards: Path) -> list[Batch]:
    plan = Plan.from_manifest(load_manifest(MANIFEST), shards=shards, stage="finetune", batch_size=12)
    with make_loader(plan, options=LoaderOptions(threads=1)) as loader:
        return [next(loader) for _ in range(NUM_BATCHES)]


def arrays(found: list[Batch]) -> list[np.ndarray]:
    """The values of batches, those that are absent as empty arrays."""
    parts = ("images", "image_mask", "future", "action", "action_mask", "state")
    return [np.asarray([] if (part := getattr(one, name)) is None else part) for one in found for name in parts]


def sources() -> list[str]:
    return [entry.source for entry in load_manifest(MANIFEST).entries]


def outcome(shards: Path, good: list[np.ndarray], flipped: str) -> str:
    try:
        found = arrays(batches(shards))
    except VitaDataError as error:
        return "refused" if flipped in str(error) else f"refused without naming {flipped}"
    return "unchanged" if all(np.array_equal(*pair) for pair in zip(good, found, strict=True)) else "changed"


@pytest.mark.slow
def test_no_flipped_bit_changes_a_batch(toy_shards: Path, tmp_path: Path, figure: Callable[[str], None]) -> None:
    shards = Path(shutil.copytree(toy_shards, tmp_path / "shards"))
    good, drawn, outcomes = arrays(batches(shards)), random.Random(0), Counter[str]()
    files = sorted(path for name in sources() for path in (shards / name).glob("*/*.*"))
    sizes = [path.stat().st_size for path in files]
    for _ in range(NUM_FLIPS):
        (path,) = drawn.choices(files, sizes)
        at, bit = drawn.randrange(path.stat().st_size), drawn.randrange(8)
        flip(path, at, bit)
        outcomes[outcome(shards, good, path.stem)] += 1
        flip(path, at, bit)
    for name in sources():
        assert not verify(shards / name).problems
    figure(f"flips: {NUM_FLIPS} bits in shards: " + ", ".join(f"{count} {what}" for what, count in outcomes.items()))
    assert set(outcomes) <= {"refused", "unchanged"}
