"""The batches of 1 to 16 ranks are parts of the same batches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults.test_flips import arrays
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.manifest import load_manifest
from vita_data.types import Batch

MANIFESTS = Path(__file__).parents[2] / "manifests"
STAGES = {"warmup": "toy", "cotrain": "toy", "finetune": "toy_finetune"}
BATCH_SIZE = 48
RANKS = (1, 2, 3, 4, 6, 8, 12, 16)
NUM_BATCHES = 25


def batches(plan: Plan, rank: int, num_ranks: int) -> list[Batch]:
    with make_loader(plan, rank=rank, world_size=num_ranks, options=LoaderOptions(threads=1)) as loader:
        return [next(loader) for _ in range(NUM_BATCHES)]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_ranks_share_the_batches_of_one(toy_shards: Path, stage: str, figure: Callable[[str], None]) -> None:
    manifest = load_manifest(MANIFESTS / f"{STAGES[stage]}.toml")
    plan = Plan.from_manifest(manifest, shards=toy_shards, stage=stage, batch_size=BATCH_SIZE)
    whole, num_equal = arrays(batches(plan, 0, 1)), 0
    for num_ranks in RANKS[1:]:
        shares = [arrays(batches(plan, rank, num_ranks)) for rank in range(num_ranks)]
        for expected, *parts in zip(whole, *shares, strict=True):
            assert np.array_equal(expected, np.concatenate(parts))
        num_equal += NUM_BATCHES * num_ranks
    figure(
        f"ranks: {stage}: {num_equal} batches of {len(RANKS) - 1} world sizes up to {RANKS[-1]} equal those of one rank"
    )
