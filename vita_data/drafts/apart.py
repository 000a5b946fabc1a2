"""Drafts a source in a worker process: files of strangers can hang or crash the libraries that read them."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from vita_data.builder import WorkerLimits
from vita_data.builder.apart import retry_job
from vita_data.builder.pool import WorkerPool
from vita_data.builder.pulse import Obstacle, Pulse
from vita_data.builder.worker import Job
from vita_data.drafts.contents import OPTION
from vita_data.drafts.draft import Draft, draft_source
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.probe.sample import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """One `vita-data new-source`; can be sent to another process."""

    raw: str
    name: str
    obstacles: tuple[Obstacle, ...] = ()


def draft_apart(request: DraftRequest, limits: WorkerLimits) -> Draft:
    """Draft a source; episodes that a worker does not survive are told by probe P1 in the evidence.

    Raises:
        RequestError: the tree has none of the known formats, or neither a camera nor an arm.
        SourceError: a description cannot be read, or a file that shows the columns hangs or crashes its reader.
        WorkerError: the worker was killed.
    """

    def job_of(obstacles: tuple[Obstacle, ...]) -> Job:
        return Job(function=_draft, argument=replace(request, obstacles=obstacles))

    with closing(WorkerPool(1, limits)) as pool:
        draft: Draft = retry_job(pool, f"{OPTION} {request.raw}", job_of, lambda told: None)
    return draft


def _draft(request: DraftRequest, on_told: Callable[[object], None], pulse: Pulse) -> Draft:
    watch = Watch(pulse=pulse, obstacles=request.obstacles)
    with FsspecTree(request.raw, option=OPTION, on_open=pulse.opened, on_answer=pulse.beat) as raw:
        return draft_source(raw, name=request.name, watch=watch)
