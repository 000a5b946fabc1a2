"""Runs an evaluation twice: to its end, and interrupted after its first episode and resumed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def results(arguments: Sequence[str], folder: Path, name: str) -> list[dict[str, Any]]:
    """Give both results of `vita-eval ARGUMENTS --out FOLDER/...`, which are written to `NAME.json`."""
    asked = [sys.executable, "-m", "vita_model", "eval", *arguments, "--out"]
    whole, parts = folder / "whole", folder / "parts"
    subprocess.run([*asked, str(whole)], check=True)
    _interrupt([*asked, str(parts)], parts / f"{name}.episodes.jsonl")
    subprocess.run([*asked, str(parts), "--resume"], check=True)
    return [json.loads((made / f"{name}.json").read_text()) for made in (whole, parts)]


def _interrupt(command: Sequence[str], journal: Path) -> None:
    with subprocess.Popen(command) as process:
        while not journal.is_file() or journal.read_bytes().count(b"\n") < 2:  # settings and an episode
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(30) == 1
        assert time.monotonic() - began < 5  # a second, if nothing else runs
    assert journal.read_bytes().count(b"\n") == 2
