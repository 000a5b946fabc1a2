"""Joins source -> normalize -> shards: a raw tree to a built source, restartable at every unit."""

from vita_data.build.plan import BuildRequest
from vita_data.build.run import BuildResult, build, status

__all__ = ["BuildRequest", "BuildResult", "build", "status"]
