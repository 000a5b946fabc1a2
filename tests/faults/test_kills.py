"""SIGKILLs at moments spread over a build: the same command ends with the bytes of an undisturbed one."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vita_data.builder.made import Run, contents, run_build

NUM_KILLS = 20


def kill_at_random(raw: Path, out: Path, undisturbed: Path, *arguments: object, num_kills: int) -> int:
    """Kill builds at moments spread over the whole of an undisturbed one, every other time the process alone.

    Returns:
        how many builds ended.
    """
    drawn = random.Random(0)
    start_s = time.monotonic()
    code, _, err = run_build("libero", raw, out / "timed", *arguments)
    assert code == 0, err
    span_s, number, killed = time.monotonic() - start_s, 0, 0
    while killed < num_kills:
        run = Run.start("libero", raw, out / str(number), *arguments)
        try:
            run.process.wait(timeout=drawn.uniform(0.0, span_s))
        except subprocess.TimeoutExpired:
            run.kill(group=killed % 2 == 0)
            killed += 1
            continue
        code, _, err = run.end()
        assert code == 0, err
        assert contents(out / str(number)) == contents(undisturbed)
        number += 1
    code, _, err = run_build("libero", raw, out / str(number), *arguments)
    assert code == 0, err
    for made in (out / "timed", out / str(number)):
        assert contents(made) == contents(undisturbed)
    return number + 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_at_random_moments_change_no_byte(
    raw: Path, undisturbed: Path, tmp_path: Path, engine: str, workers: int, figure: Callable[[str], None]
) -> None:
    arguments = ("--engine", engine, "--workers", workers)
    num_ended = kill_at_random(raw, tmp_path, undisturbed, *arguments, num_kills=NUM_KILLS)
    figure(
        f"kills: engine {engine}, {workers} workers: {NUM_KILLS} SIGKILLs, {num_ended} builds ended with equal bytes"
    )
