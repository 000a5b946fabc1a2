"""Builds raw data into a built source (read, normalize, write shards), restartable after every unit."""

from vita_data.builder.engines import Engine, InlineEngine, LocalEngine, RayEngine
from vita_data.builder.plan import BuildRequest, Share
from vita_data.builder.run import BuildResult, Listeners, build
from vita_data.builder.status import status
from vita_data.builder.worker import WorkerLimits

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Engine",
    "InlineEngine",
    "Listeners",
    "LocalEngine",
    "RayEngine",
    "Share",
    "WorkerLimits",
    "build",
    "status",
]
