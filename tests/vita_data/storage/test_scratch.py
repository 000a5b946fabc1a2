"""Temporary folders end with their process: by themselves, on SIGTERM, and after SIGKILL with the next process."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vita_data.storage.scratch import Scratch, scratch_folder

HOLDS = """
import sys, time
from vita_data.command.exits import exit_code
from vita_data.storage.scratch import scratch_folder

def work():
    with scratch_folder("vita-test-") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
        print(folder, flush=True)
        time.sleep(60)

sys.exit(exit_code("test", work, interrupted="interrupted"))
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def holder(tmp_path: Path) -> tuple["subprocess.Popen[str]", Path]:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_ends_with_its_block(tmp_path: Path) -> None:
    with scratch_folder("vita-test-") as folder:
        (folder / "file").write_text("x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_sigterm_removes_it_and_is_said_in_a_line(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    with process:
        assert (folder / "inner" / "file").exists()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1] == "test: interrupted\n"
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left_and_no_other(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    for name in ("vita-test-strange", "vita-other-x"):
        (tmp_path / name).mkdir()
    with process:
        living = Scratch("vita-test-")
        assert (folder / "inner" / "file").exists()
        process.kill()
        process.communicate(timeout=60)
    assert folder.exists()
    with scratch_folder("vita-test-"):
        assert not folder.exists()
        assert living.path.exists()
    living.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vita-other-x", "vita-test-strange"]
