"""How a run divides the cores between the model and the loader."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vita_model.training.cpu_threads import compute_threads

TRAIN = """
import os, sys, torch
os.sched_getaffinity = lambda process: set(range(6))
from vita_model.cli import main
assert main(sys.argv[1:]) == 0
print("threads", torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("cores", "readers", "expected"), [(1, 8, 1), (2, 8, 1), (3, 8, 2), (8, 8, 4), (16, 8, 8), (64, 8, 56), (4, 1, 3)]
)
def test_readers_get_cores_of_their_own_but_never_more_than_half(cores: int, readers: int, expected: int) -> None:
    assert compute_threads(cores, readers) == expected


@pytest.mark.parametrize(("asked", "expected"), [(None, "threads 4"), ("1", "threads 1")])
def test_a_run_computes_with_what_its_readers_leave(
    toy_shards: Path, tmp_path: Path, asked: str | None, expected: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    words = ["debug_warmup", "--shards", str(toy_shards), "--out", str(tmp_path / "run"), "--steps", "1",
             "--set", "eval_batches=0", "--set", "loader.threads=2", "--quiet"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *words], env=environment | ({"OMP_NUM_THREADS": asked} if asked else {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == expected
