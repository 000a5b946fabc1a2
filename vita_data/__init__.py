"""Builds raw human and robot datasets into normalized shards and loads them as batches.

    source = vita_data.open_source("shards/bridge")     # clips by number or key, tables as polars frames
    loader = vita_data.open_loader("toy", shards="shards", stage="cotrain", batch_size=8)

Importing this package imports nothing else: each name below is loaded when it is first used, torch with `open_loader`.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vita_data.dataset import BuiltSource, StoredClip
    from vita_data.front import open_loader, open_source
    from vita_data.loader import LoaderOptions, Plan, PlanChange, RemoteOptions
    from vita_data.loader.loader import Loader
    from vita_data.loader.normalize import unnormalize_actions
    from vita_data.types import Batch, CameraRole, Modality, Split, Stage, Starts, WindowSpec

__version__ = "0.1.0"
SCHEMA_VERSION = 1

_HOMES = {
    "vita_data.dataset": ("BuiltSource", "StoredClip"),
    "vita_data.front": ("open_loader", "open_source"),
    "vita_data.loader": ("LoaderOptions", "Plan", "PlanChange", "RemoteOptions"),
    "vita_data.loader.loader": ("Loader",),
    "vita_data.loader.normalize": ("unnormalize_actions",),
    "vita_data.types": ("Batch", "CameraRole", "Modality", "Split", "Stage", "Starts", "WindowSpec"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SCHEMA_VERSION",
    "Batch",
    "BuiltSource",
    "CameraRole",
    "Loader",
    "LoaderOptions",
    "Modality",
    "Plan",
    "PlanChange",
    "RemoteOptions",
    "Split",
    "Stage",
    "Starts",
    "StoredClip",
    "WindowSpec",
    "__version__",
    "open_loader",
    "open_source",
    "unnormalize_actions",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        fault = f"module 'vita_data' has no attribute {name!r}"
        raise AttributeError(fault, name=name, obj=sys.modules[__name__])  # Python then suggests a name
    from vita_data.installation import naming_extra

    with naming_extra():
        return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
