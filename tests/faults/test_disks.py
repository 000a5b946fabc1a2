"""Disks of many sizes that fill up during a build: one line, and the same command on a larger disk ends it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vita_data.builder.made import contents, run_build
from tests.vita_data.builder.test_faults import one_line, small_disk

NUM_DISKS = 20


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_full_disks_change_no_byte(
    raw: Path, undisturbed: Path, tmp_path: Path, workers: int, figure: Callable[[str], None]
) -> None:
    whole = sum(len(data) for data in contents(undisturbed).values())
    num_full = 0
    for number in range(NUM_DISKS // 2):
        disk = tmp_path / f"disk{number}"
        with small_disk(disk, (number + 1) * whole // (NUM_DISKS // 2 + 1)):
            code, _, err = run_build("libero", raw, disk, "--workers", workers)
            assert code == 1
            assert "No space left" in one_line(err)
            num_full += 1
            subprocess.run(["mount", "-o", f"remount,size={4 * whole}", str(disk)], check=True)
            code, _, err = run_build("libero", raw, disk, "--workers", workers)
            assert code == 0, err
            assert contents(disk) == contents(undisturbed)
    figure(f"disks: {workers} workers: {num_full} full disks, {num_full} builds ended with equal bytes")
