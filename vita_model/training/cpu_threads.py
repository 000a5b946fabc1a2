"""Divides the cores of a CPU between the model and the loader's threads, which read in the same process."""

import os

import torch


def leave_cores_to_the_loader(num_threads: int) -> None:
    """Let torch compute with the cores that `num_threads` readers leave, at least half; OMP_NUM_THREADS, if set, wins.

    By default torch has a thread on each core. They wait for one another in every operation, so a single one that
    shares its core with a reader, or with another program, holds up all: small models were five times as slow.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(compute_threads(_num_cores(), num_threads))


def compute_threads(num_cores: int, num_readers: int) -> int:
    """Give the number of torch's threads: a reader has a core of its own, as long as that takes at most half."""
    return max(num_cores - min(num_readers, num_cores // 2), 1)


def _num_cores() -> int:
    """Count the cores that this process may use; not all systems say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
