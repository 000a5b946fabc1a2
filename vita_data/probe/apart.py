"""Probes a download in a worker process, so that a file that hangs or crashes its reader costs only itself."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from vita_data.builder import WorkerLimits
from vita_data.builder.apart import retry_job
from vita_data.builder.pool import WorkerPool
from vita_data.builder.pulse import Obstacle, Pulse
from vita_data.builder.worker import Job
from vita_data.command.progress import SILENT, Progress
from vita_data.config.from_json import from_json
from vita_data.formats.raw_tree.tree import RAW_OPTION, FsspecTree
from vita_data.nearby_raw import raw_advice
from vita_data.probe.page import probe_page
from vita_data.probe.result import ProbeReport
from vita_data.probe.run import DEFAULT_LIMIT, probe_tree
from vita_data.probe.sample import Watch
from vita_data.sources import load
from vita_data.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """One `vita-data probe`; all of it can be sent to another process."""

    source: str
    source_file: str
    raw: str
    settings: Json
    """The source's settings, as JSON: their class may be defined in the source's file."""
    limit: int = DEFAULT_LIMIT
    with_page: bool = False
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """The verdicts, and the page if it was asked for."""

    report: ProbeReport
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A call of the progress in the worker: the total when the reading starts, then what was done."""

    total: int | None = None
    amount: int = 0
    note: str = ""


def probe_apart(request: ProbeRequest, limits: WorkerLimits, progress: Progress = SILENT) -> ProbeAnswer:
    """Probe a download; what a worker does not survive is a fault that probe P1 reports.

    Raises:
        RequestError: the folder does not exist, or does not have this dataset's layout.
        SourceError: a file that describes the whole tree hangs or crashes its reader.
        WorkerError: the worker was killed.
    """

    def job_of(obstacles: tuple[Obstacle, ...]) -> Job:
        return Job(function=_probe, argument=replace(request, obstacles=obstacles))

    with closing(WorkerPool(1, limits)) as pool:
        answer: ProbeAnswer = retry_job(pool, f"{RAW_OPTION} {request.raw}", job_of, _Shown(progress).hear)
    return answer


@dataclass(slots=True)
class _Shown:
    """The progress of a probe; what an earlier try reported is not reported again."""

    progress: Progress
    num_shown: int = -1
    num_heard: int = 0

    def hear(self, told: _Told) -> None:
        if told.total is not None:
            self.num_heard = 0
        if self.num_heard > self.num_shown:
            self.num_shown = self.num_heard
            if told.total is not None:
                self.progress.start(told.total)
            else:
                self.progress.update(told.amount, told.note)
        self.num_heard += 1


def _probe(request: ProbeRequest, on_told: Callable[[_Told], None], pulse: Pulse) -> ProbeAnswer:
    source = load(request.source, request.source_file)
    settings = from_json(source.Settings, request.settings)
    watch = Watch(pulse=pulse, obstacles=request.obstacles)
    with (
        raw_advice(source, request.raw, settings),
        FsspecTree(request.raw, on_open=pulse.opened, on_answer=pulse.beat) as raw,
    ):
        probed = probe_tree(source, raw, settings, limit=request.limit, progress=_Sent(on_told), watch=watch)
    return ProbeAnswer(report=probed.report, page=probe_page(probed) if request.with_page else "")


class _Sent(Progress):
    """A progress that is shown by another process."""

    def __init__(self, send: Callable[[_Told], None]) -> None:
        super().__init__("", unit="", quiet=True)
        self._send = send

    def start(self, total: int | None, *, done: int = 0) -> None:
        self._send(_Told(total=total))

    def update(self, amount: int = 1, note: str = "") -> None:
        self._send(_Told(amount=amount, note=note))
