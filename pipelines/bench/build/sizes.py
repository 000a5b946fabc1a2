"""Sizes of the benchmark: minutes for real figures, or seconds to check that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of all workloads, and the number of rounds."""

    num_rounds: int
    long_height: int
    long_width: int
    num_long_frames: int
    num_clips: int
    """Number of distinct short clips."""
    num_copies: int
    """Number of copies of each short clip in the tree that two workers build."""
    num_peer_clips: int
    """Number of short clips for the other tools, which are slow."""
    num_records: int
    num_demos: int
    num_npz: int


FULL = Sizes(
    num_rounds=3,
    long_height=1080,
    long_width=1920,
    num_long_frames=600,
    num_clips=40,
    num_copies=30,
    num_peer_clips=10,
    num_records=200,
    num_demos=20,
    num_npz=640,
)
QUICK = Sizes(
    num_rounds=1,
    long_height=144,
    long_width=256,
    num_long_frames=150,
    num_clips=1,
    num_copies=2,
    num_peer_clips=1,
    num_records=4,
    num_demos=1,
    num_npz=30,
)
