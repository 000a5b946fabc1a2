"""Sizes of the store benchmark: minutes for real figures, or seconds to check that everything runs."""

from dataclasses import dataclass

from pipelines.bench.loader.sizes import ClipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSizes:
    """The generated shards, and how much is read."""

    clips: ClipSpec
    latency_s: float
    num_ranges: int
    range_bytes: int
    connections: tuple[int, ...]
    """Concurrent requests of the clients that are compared."""
    num_ranks: int
    batch_size: int
    num_steps: int
    threads: int
    num_rounds: int


FULL = StoreSizes(
    clips=ClipSpec(num_clips=200, num_steps=100, clips_per_shard=50),
    latency_s=0.04,
    num_ranges=2000,
    range_bytes=20_000,
    connections=(32, 128, 256),
    num_ranks=16,
    batch_size=256,
    num_steps=6,
    threads=2,
    num_rounds=3,
)
QUICK = StoreSizes(
    clips=ClipSpec(num_clips=4, num_steps=24, clips_per_shard=2),
    latency_s=0.002,
    num_ranges=8,
    range_bytes=500,
    connections=(4,),
    num_ranks=2,
    batch_size=4,
    num_steps=2,
    threads=1,
    num_rounds=1,
)
