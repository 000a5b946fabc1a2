"""Joins source -> normalize -> shards: a raw tree to a built source, restartable at every unit."""

from vita_data.build.engines import Engine, LocalEngine, RayEngine
from vita_data.build.plan import BuildRequest, Share
from vita_data.build.run import BuildResult, Listeners, build
from vita_data.build.status import status

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Engine",
    "Listeners",
    "LocalEngine",
    "RayEngine",
    "Share",
    "build",
    "status",
]
