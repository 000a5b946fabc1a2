"""Peak memory of one worker, measured in a separate process."""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

LIMIT_MB = 1500.0
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Peak resident memory of a process that ran one workload, in units of 10^6 bytes."""

    what: str
    peak_mb: float
    limit_mb: float = LIMIT_MB

    @property
    def is_met(self) -> bool:
        """Tell whether it stayed under the limit."""
        return self.peak_mb < self.limit_mb


def measure_peak(what: str, run: Callable[[], object]) -> Peak:
    """Run a picklable function in a new process and measure its peak memory.

    Raises:
        RuntimeError: the function failed.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_tell, args=(run, sender))
    process.start()
    process.join()
    if process.exitcode or not receiver.poll():
        raise RuntimeError(f"{what}: the process that measures its memory failed")
    return Peak(what=what, peak_mb=float(receiver.recv()))


def _run_and_tell(run: Callable[[], object], sender: Connection) -> None:
    run()
    sender.send(_own_peak_mb())


def _own_peak_mb() -> float:
    # On Linux, ru_maxrss also counts the parent's memory before exec; VmHWM does not.
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    units = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units / 1e6
