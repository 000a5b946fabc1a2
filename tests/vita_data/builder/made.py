"""What the tests of builds share: requests with many units, builds in processes of their own, and who is alive."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vita_data.builder import BuildRequest
from vita_data.sources import load

MARK = "VITA_TEST_RUN"
PATIENCE_S = 60.0
"""How long a test waits for what must happen; far longer than it takes, so that a busy machine fails nothing."""


def request(name: str, raw: Path, out: Path, **changes: object) -> BuildRequest:
    """One byte a unit: every part is a unit of its own."""
    made = BuildRequest(source=name, raw=str(raw), out=out, settings=load(name).Settings(unit_bytes=1))
    return replace(made, **changes)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def many_parts(toy_libero: Path, root: Path, *, num_copies: int) -> Path:
    """Repeat the toy files of LIBERO under other task names: every file is a part."""
    shutil.copytree(toy_libero, root)
    for path in sorted(root.rglob("*_demo.hdf5")):
        for number in range(num_copies - 1):
            shutil.copy(path, path.with_name(path.name.replace("_demo", f"_{number}_demo")))
    return root


def hear_interrupts() -> None:
    """Undo what a shell does to commands in the background: they, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Run:
    """`vita-data build` in a process group of its own, whose descendants can be told by a mark."""

    process: subprocess.Popen[str]
    mark: str

    @staticmethod
    def start(name: str | Path, raw: Path, out: Path, *arguments: object, tmpdir: Path | None = None) -> "Run":
        """Start a build of a source, or of one that a file defines."""
        source = "--source-file" if isinstance(name, Path) else "--source"
        command = [sys.executable, "-m", "vita_data.cli.main", "build", source, name, "--raw", raw, "--out", out]
        command += ["--set", "unit_bytes=1", *arguments]
        mark = secrets.token_hex(8)
        environment = {**os.environ, MARK: mark} | ({} if tmpdir is None else {"TMPDIR": str(tmpdir)})
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
            preexec_fn=hear_interrupts,  # noqa: PLW1509 - it only resets a signal
        )
        return Run(process=process, mark=mark)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=10 * PATIENCE_S)
        return self.process.returncode, out, err

    def kill(self, *, group: bool) -> None:
        if group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        # Descendants may hold the pipes: they are read only by those who let the run end.
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def alive(self) -> dict[int, str]:
        """The run's processes and what they are."""
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                text = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if f"{MARK}={self.mark}".encode() in environment and text:
                found[int(folder.name)] = text
        return found


def run_build(name: str, raw: Path, out: Path, *arguments: object) -> tuple[int, str, str]:
    return Run.start(name, raw, out, *arguments).end()


def wait_until(happened: Callable[[], object]) -> bool:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if happened():
            return True
        time.sleep(0.005)
    return False


def num_records(folder: Path) -> int:
    return len(list((folder / ".build").glob("unit-*.json")))
