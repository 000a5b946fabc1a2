"""CPU time of this process and all its descendants, including running ones (Linux)."""

import os
import resource
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Fields of /proc/PID/stat, counted after the name in brackets."""


def cpu_seconds() -> float:
    """Sum the user and system time of this process, its finished children and its running descendants."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ended = sum(one.ru_utime + one.ru_stime for one in own)
    return ended + sum(_ticks()) / os.sysconf("SC_CLK_TCK")


def _ticks() -> list[int]:
    """Give the ticks of each running descendant, including its finished children."""
    stats: dict[int, list[str]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            # The process ended in the meantime.
            continue
    mine, found = {os.getpid()}, []
    while new := {pid for pid, stat in stats.items() if int(stat[_PARENT]) in mine} - mine:
        mine |= new
        found += [sum(int(ticks) for ticks in stats[pid][_USER : _SYSTEM + 3]) for pid in new]
    return found
