"""Sizes of the benchmark: minutes for real figures, or seconds to check that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """The generated clips that samples come from."""

    num_clips: int
    num_steps: int
    clips_per_shard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """The generated index, which has no clips behind it."""

    num_shards: int
    clips_per_shard: int
    frames_per_clip: int

    @property
    def num_clips(self) -> int:
        """Number of clips in all shards."""
        return self.num_shards * self.clips_per_shard

    @property
    def num_frames(self) -> int:
        """Number of frames in all shards."""
        return self.num_clips * self.frames_per_clip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSizes:
    """Sizes of the generated data and of each turn."""

    clips: ClipSpec
    index: IndexSpec
    num_rounds: int
    batch_size: int
    num_warm: int
    """Warm-up batches of a turn, which include imports, first page accesses and the workers' read-ahead."""
    num_batches: int
    threads: tuple[int, ...]
    """Numbers of threads for our loader."""
    workers: tuple[int, ...]
    """Numbers of worker processes for peers."""
    index_batch: int
    index_runs: int
    """Number of processes that open the index."""
    index_steps: int
    """Number of batches that each process plans."""


FULL = LoaderSizes(
    clips=ClipSpec(num_clips=200, num_steps=100, clips_per_shard=50),
    index=IndexSpec(num_shards=1000, clips_per_shard=1000, frames_per_clip=50),
    num_rounds=5,
    batch_size=64,  # per-rank part of the paper's 1024 on 16 GPUs
    num_warm=5,
    num_batches=24,
    threads=(1, 2, 4),
    workers=(0, 1, 2),
    index_batch=1024,
    index_runs=3,
    index_steps=20,
)
QUICK = LoaderSizes(
    clips=ClipSpec(num_clips=4, num_steps=24, clips_per_shard=2),
    index=IndexSpec(num_shards=3, clips_per_shard=10, frames_per_clip=8),
    num_rounds=1,
    batch_size=4,
    num_warm=1,
    num_batches=2,
    threads=(2,),
    workers=(0, 2),
    index_batch=16,
    index_runs=1,
    index_steps=3,
)
