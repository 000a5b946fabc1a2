"""Ends a run whose rank on this machine is stopped (SIGSTOP, a pager, a scheduler), as it ends when one is killed.

A killed rank breaks its connections, so the others notice at once; a stopped one keeps them, and the others would wait
until the collective's timeout. Each rank looks at the other ranks of its own machine.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import TRAINING_RESUMES

_INTERVAL_S, _PATIENCE_S = 0.5, 3.0
"""Time between two looks, and how long a rank may be stopped; `fg` after Ctrl-Z wakes all of them within moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankProcess:
    """Where a rank runs."""

    rank: int
    machine: str
    """The same text for processes that see each other's numbers; empty: this system does not tell."""
    pid: int

    @classmethod
    def own(cls, rank: int) -> "RankProcess":
        """Describe this process."""
        machine = ""
        with suppress(OSError):
            boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
            machine = f"{boot.strip()} {namespace}"
        return cls(rank=rank, machine=machine, pid=os.getpid())


@contextmanager
def watching(own: RankProcess, others: Mapping[int, RankProcess]) -> Iterator[None]:
    """Watch the other ranks of this machine inside the context; ends this process with code 1 if one is stopped."""
    near = [one for one in others.values() if own.machine and one.machine == own.machine and one.pid != own.pid]
    if not near:
        yield
        return
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(own, near, over), name="vita-ranks", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(own: RankProcess, near: list[RankProcess], over: threading.Event) -> None:
    since_s: dict[int, float] = {}
    while not over.wait(_INTERVAL_S):
        now_s = time.monotonic()
        since_s = {one.pid: since_s.get(one.pid, now_s) for one in near if is_stopped(one.pid)}
        for one in near:
            if now_s - since_s.get(one.pid, now_s) >= _PATIENCE_S:
                sys.stderr.write(
                    f"rank {own.rank}: rank {one.rank} (process {one.pid} of this machine) is stopped, so the run ends"
                    f"; end that process (kill -9 {one.pid}), then {TRAINING_RESUMES}\n"
                )
                sys.stderr.flush()
                os._exit(1)  # the main thread waits inside a collective


def is_stopped(pid: int) -> bool:
    """Tell whether a process of this machine is stopped by a signal."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["T"]
