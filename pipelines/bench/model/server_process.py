"""Run `vita-serve` in its own process, on a free local port."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from vita_data.command.signals import interrupt, on_sigterm
from vita_data.errors import VitaDataError
from vita_model.policy.interfaces import API_KEY

_END_S = 30.0


@contextmanager
def served(run: Path, *, device: str, max_batch: int = 1) -> Iterator[int]:
    """Serve a run inside the context, with this process's number of threads and without a key; yields the port.

    Raises:
        VitaDataError: the server exits before it is ready; the message has the last line of its output.
    """
    command = [sys.executable, "-m", "vita_model.serving.cli", str(run), "--port", "0", "--device", device]
    command += ["--max-batch", str(max_batch)]
    environment = {name: value for name, value in os.environ.items() if name != API_KEY}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as server,
        on_sigterm(interrupt),  # otherwise the server would outlive this process
    ):
        try:
            yield _port(server, said)
        finally:
            _end(server)


def _port(server: "subprocess.Popen[str]", said: IO[str]) -> int:
    for line in server.stdout or ():
        if found := re.search(r"http://[\d.]+:(\d+)", line):
            return int(found[1])
    code = server.wait()
    said.seek(0)
    words = said.read().strip().splitlines() or ["no output"]
    raise VitaDataError(f"the server exited with code {code} before it was ready: {words[-1]}")


def _end(server: "subprocess.Popen[str]") -> None:
    server.terminate()
    try:
        server.wait(_END_S)
    except subprocess.TimeoutExpired:
        server.kill()
