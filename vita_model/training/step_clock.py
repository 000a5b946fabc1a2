"""Where the time of training steps goes: a clock for their parts, and a trace of the profiler."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from vita_model.distributed import Ranks

PROFILE = "profile"
_SKIPPED = 3
"""Steps before a trace, in which memory is allocated and blocks are compiled."""


class StepPart(StrEnum):
    """A part of a training step; sums over ranks run during forward and backward and count there."""

    DATA = "data"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


class StepClock:
    """Sums the seconds of each part of a step; a GPU's own clock is read once, at the end of the step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[StepPart, float] = {}
        self._events: list[tuple[StepPart, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timed(self, part: StepPart) -> Iterator[None]:
        """Add the time inside to a part; data is waited for by the host, the rest runs on the device."""
        if self._device.type == "cuda" and part is not StepPart.DATA:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._events.append((part, begin, end))
            return
        begin_s = time.perf_counter()
        yield
        self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - begin_s

    def read(self) -> dict[str, float]:
        """Give the seconds of each part since the last call."""
        for part, begin, end in self._events:
            end.synchronize()
            self._seconds[part] = self._seconds.get(part, 0.0) + begin.elapsed_time(end) / 1000
        seconds = {f"{part}_s": round(self._seconds.get(part, 0.0), 6) for part in StepPart}
        self._seconds, self._events = {}, []
        return seconds


@contextmanager
def profiled(run: Path, num_steps: int | None, ranks: Ranks) -> Iterator[Callable[[], None]]:
    """Trace `num_steps` steps after the first few into RUN/profile; yields what to call after each step.

    Each rank writes a file for chrome://tracing or Perfetto. None: no trace.
    """
    if num_steps is None:
        yield _nothing
        return
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (ranks.device.type == "cuda")
    path = run / PROFILE / f"rank-{ranks.rank:05d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = schedule(wait=_SKIPPED - 1, warmup=1, active=num_steps, repeat=1)
    with profile(
        activities=activities, schedule=steps, on_trace_ready=lambda one: one.export_chrome_trace(str(path))
    ) as trace:
        yield trace.step


def _nothing() -> None:
    """Do nothing after a step."""
