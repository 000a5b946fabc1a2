"""How much is measured: minutes for figures, or seconds to see that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of all workloads, and how often each path is measured."""

    num_rounds: int
    long_height: int
    long_width: int
    num_long_frames: int
    num_clips: int
    """Distinct short clips."""
    num_copies: int
    """How often each short clip lies in the tree that two workers build."""
    num_peer_clips: int
    """Short clips given to the peers, which are slow."""
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
