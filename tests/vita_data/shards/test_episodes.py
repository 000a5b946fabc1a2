"""The list of episodes is read in the calling thread alone."""

import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.is_dir(), reason="counts threads in /proc")
def test_reading_the_list_starts_no_thread(toy_shards: Path) -> None:
    # A thread that outlived the reading aborted about one `vita-data verify` in ten on a busy machine, at its exit.
    code = (
        "import os, sys; from pathlib import Path; from vita_data.shards.episodes import read_episodes\n"
        f"before = len(os.listdir('{TASKS}')); table = read_episodes(Path(sys.argv[1]))\n"
        f"print(table.num_rows > 0, len(os.listdir('{TASKS}')) - before)"
    )
    command = [sys.executable, "-c", code, str(toy_shards / "bridge")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "0"]
