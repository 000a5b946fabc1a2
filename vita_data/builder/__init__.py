"""Builds raw data into a built source (read, normalize, write shards), restartable after every unit."""

from vita_data.builder.engines import Engine, LocalEngine, RayEngine
from vita_data.builder.plan import BuildRequest, Share
from vita_data.builder.run import BuildResult, Listeners, build
from vita_data.builder.status import status

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
