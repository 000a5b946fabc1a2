"""Where the time of training steps goes: a clock for their parts, and a trace of the profiler."""

import time
from collections.abc import Callable, Iterator, Mapping
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
    """A part of a training step; short sums over ranks, such as those of losses, count where they are computed."""

    DATA = "data"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    COMMUNICATION = "communication"
    """Waiting for the sums of gradients over ranks (`parallel.gradient_wait_s`)."""


_TIMED = (StepPart.DATA, StepPart.FORWARD, StepPart.BACKWARD, StepPart.OPTIMIZER)


class StepClock:
    """Sums the seconds of each part of a step; a GPU's own clock is read once, at the end of the step."""

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self._device, self._now = device, now
        self._begin_s = now()
        self._seconds: dict[StepPart, float] = {}
        self._events: list[tuple[StepPart, torch.cuda.Event, torch.cuda.Event]] = []

    def begin(self) -> None:
        """Begin a step."""
        self._begin_s = self._now()

    def step_s(self) -> float:
        """Give the seconds since the step began; call it after `read`, which waits for a GPU."""
        return self._now() - self._begin_s

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
        begin_s = self._now()
        yield
        self._seconds[part] = self._seconds.get(part, 0.0) + self._now() - begin_s

    def read(self) -> dict[str, float]:
        """Give the seconds of each part since the last call."""
        for part, begin, end in self._events:
            end.synchronize()
            self._seconds[part] = self._seconds.get(part, 0.0) + begin.elapsed_time(end) / 1000
        seconds = {f"{part}_s": round(self._seconds.get(part, 0.0), 6) for part in _TIMED}
        self._seconds, self._events = {}, []
        return seconds


def with_communication(parts_s: Mapping[str, float], waited_s: float | None) -> dict[str, float]:
    """Take the time that the backward pass waited for other ranks out of it; None: that was not measured."""
    if waited_s is None:
        return dict(parts_s)
    backward, communication = f"{StepPart.BACKWARD}_s", f"{StepPart.COMMUNICATION}_s"
    waited_s = round(min(waited_s, parts_s[backward]), 6)
    return {**parts_s, backward: round(parts_s[backward] - waited_s, 6), communication: waited_s}


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
