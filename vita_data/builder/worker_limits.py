"""Limits of a worker process, and what the system knows of it; on systems without /proc, only time counts."""

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

_IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_ARROW_POOL = "ARROW_DEFAULT_MEMORY_POOL"
_LIBRARY_BYTES = 100_000_000
"""Code of the libraries, which is in memory too but is not limited."""
_MAX_THREADS = 32
"""Threads of one reader whose stacks, which are reserved but hardly used, do not count."""


def end_with_parent(life: Connection, parent: int) -> None:
    """End this process when its parent ends for any reason, also while a library hangs.

    Args:
        life: the end of a pipe to which nothing is ever sent: it ends when the parent closes it or dies.
        parent: the parent's process id.
    """
    if _IS_LINUX:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()


def _end_with(life: Connection) -> None:
    life.poll(None)
    os._exit(1)


@contextmanager
def reserving_no_memory() -> Iterator[None]:
    """Start processes in which Arrow allocates as others do; its own allocator reserves a gigabyte, which counts.

    Arrow reads this when it is imported, which is before a process can run anything of ours.
    """
    before = os.environ.get(_ARROW_POOL)
    os.environ[_ARROW_POOL] = "system"
    try:
        yield
    finally:
        os.environ.pop(_ARROW_POOL)
        if before is not None:
            os.environ[_ARROW_POOL] = before


def mute_libraries() -> None:
    """Let only Python write to the outputs of this process.

    C libraries print warnings that quote a file, control characters included, once for each damaged image.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is not None:  # it is None if it was closed
            kept = os.fdopen(os.dup(number), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
            setattr(sys, name, kept)
            os.dup2(null, number)
    os.close(null)


def limit_memory(num_bytes: int) -> None:
    """Let requests for more memory fail in this process; a crash of it leaves no core file.

    What the libraries have reserved without using it does not count.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if not _IS_LINUX:
        return
    import vita_data.builder.unit  # noqa: F401 - load the libraries of all readers before their share is measured

    reserved = _status_bytes("VmData") - _status_bytes("RssAnon")
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    stacks = min(os.cpu_count() or 1, _MAX_THREADS) * (stack if stack != resource.RLIM_INFINITY else 8 << 20)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = num_bytes - _LIBRARY_BYTES + reserved + stacks
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def processor_s(pid: int) -> float:
    """Return how many seconds of processor time a process has used; 0 if it is unknown."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def is_running(pid: int) -> bool:
    """Tell whether a process runs, or would if a processor were free."""
    return _stat(pid)[:1] == ["R"]


def waits_for_disk(pid: int) -> bool:
    """Tell whether a process waits inside the kernel for a disk or a network file system."""
    return _stat(pid)[:1] == ["D"]


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
