"""CPU time of a process and of everything it started, while those still run (Linux)."""

import os
import resource
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Places in /proc/PID/stat after the name in brackets."""


def cpu_seconds() -> float:
    """Add up user and system time of this process, of its children that ended, and of its descendants that run."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ended = sum(one.ru_utime + one.ru_stime for one in own)
    return ended + sum(_ticks()) / os.sysconf("SC_CLK_TCK")


def _ticks() -> list[int]:
    """The ticks of each running descendant, its own ended children included."""
    stats: dict[int, list[str]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            # It ended meanwhile.
            continue
    mine, found = {os.getpid()}, []
    while new := {pid for pid, stat in stats.items() if int(stat[_PARENT]) in mine} - mine:
        mine |= new
        found += [sum(int(ticks) for ticks in stats[pid][_USER : _SYSTEM + 3]) for pid in new]
    return found
